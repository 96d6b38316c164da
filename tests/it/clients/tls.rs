//! TLS with the programs that everybody has, unchanged: OpenSSL, curl, wget, Python, Chromium, HAProxy, and an
//! auditor. Every file is compared byte by byte.

use std::fs;
use std::net::TcpStream;
use std::path::Path;

use support::client::{assert_same, content, wait_until};
use support::server::Program;
use support::tls::rcgen::SanType;
use support::tls::{Authority, Identity};

use super::http::Bench;
use super::proxies::{curl_from, free_address, proxy};

/// A server with TLS beside a plain one, and in the directory of its clients `ca.pem`, `cert.pem` and `key.pem` of its own
/// and `client/` of a client.
pub(super) struct Encrypted {
    pub(super) bench: Bench,
    pub(super) server: Program,
}

impl Encrypted {
    /// `listen`: its address.
    fn at(listen: &str, options: &[&str]) -> Self {
        let bench = Bench::new(&[]);
        let authority = Authority::new("strangers");
        let here = bench.here("");
        fs::write(here.join("ca.pem"), authority.pem()).expect("a file");
        let identity = authority.signs_with("localhost", |params| {
            params.subject_alt_names.push(SanType::IpAddress([127, 0, 0, 1].into()));
        });
        identity.write(&here);
        write_to(&authority.signs("box7"), &here.join("client"));
        let [certificate, key] = ["cert.pem", "key.pem"].map(|name| here.join(name).display().to_string());
        let always = ["--listen", listen, "--tls-cert", &certificate, "--tls-key", &key];
        let server = crate::program::start(&here.join("tls"), &[&always, options].concat());
        Self { bench, server }
    }

    pub(super) fn new(options: &[&str]) -> Self {
        Self::at("auto@127.0.0.1:0?tls", options)
    }

    pub(super) fn url(&self, path: &str) -> String {
        format!("https://{}{path}", self.server.address())
    }

    /// Stores a file in the server's directory.
    fn serves(&self, name: &str, bytes: &[u8]) {
        fs::write(self.bench.here("tls").join(name), bytes).expect("a file");
    }

    #[track_caller]
    fn assert_stored(&self, name: &str, bytes: &[u8]) {
        assert_same(&fs::read(self.bench.here("tls").join(name)).expect("stored"), bytes, name);
    }

    /// Gives `input` to `openssl s_client` with these flags: how it ended, and what it and the server said.
    fn openssl(&self, input: &str, flags: &str) -> (i32, Vec<u8>) {
        let address = self.server.address();
        let line = format!("printf '{input}' | openssl s_client -connect {address} -CAfile ca.pem {flags} 2>&1");
        self.bench.run("sh", &["-c", &line])
    }
}

fn write_to(identity: &Identity, dir: &Path) {
    fs::create_dir_all(dir).expect("a folder");
    identity.write(dir);
}

const GET: &str = "GET /f HTTP/1.1\\r\\nHost: localhost\\r\\nConnection: close\\r\\n\\r\\n";
const VERIFIED: &str = "-verify_return_error -verify_hostname localhost -ign_eof";

#[track_caller]
fn assert_says(said: &(i32, Vec<u8>), words: &[&str]) {
    let text = String::from_utf8_lossy(&said.1);
    assert_eq!(said.0, 0, "{text}");
    for word in words {
        assert!(text.contains(word), "{word} is not in:\n{text}");
    }
}

#[test]
#[ignore = "needs openssl"]
fn openssl_agrees_on_versions_and_names_and_resumes_sessions() {
    let encrypted = Encrypted::new(&[]);
    let bytes = content(1, 100_000);
    encrypted.serves("f", &bytes);
    for (flags, words) in [
        ("-alpn h2,http/1.1", ["Verify return code: 0 (ok)", "ALPN protocol: http/1.1", "New, TLSv1.3,"]),
        ("-tls1_2 -alpn http/1.1", ["Verify return code: 0 (ok)", "ALPN protocol: http/1.1", "New, TLSv1.2,"]),
        ("-tls1_3 -ciphersuites TLS_CHACHA20_POLY1305_SHA256", ["(ok)", "No ALPN", "TLS_CHACHA20_POLY1305_SHA256"]),
        ("-tls1_2 -groups P-256", ["(ok)", "No ALPN", "Server Temp Key: ECDH, prime256v1"]),
    ] {
        let said = encrypted.openssl(GET, &format!("{VERIFIED} {flags}"));
        assert_says(&said, &words);
        assert!(said.1.windows(bytes.len()).any(|window| window == bytes), "{flags}: the file");
    }
    for flags in ["-tls1_1 -cipher DEFAULT@SECLEVEL=0", "-alpn h2", "-tls1_2 -cipher AES128-SHA"] {
        let (code, said) = encrypted.openssl(GET, flags);
        assert!(code != 0 && String::from_utf8_lossy(&said).contains("alert"), "{flags}: {}", said.escape_ascii());
    }
    // Each version has tickets of its own.
    let again = encrypted.openssl("", "-tls1_2 -reconnect -no_ign_eof");
    assert_eq!(String::from_utf8_lossy(&again.1).matches("Reused, TLSv1.2").count(), 5);
    assert_says(&encrypted.openssl(GET, "-ign_eof -tls1_3 -sess_out session"), &["New, TLSv1.3"]);
    let resumed = encrypted.openssl(GET, "-ign_eof -tls1_3 -sess_in session");
    assert_says(&resumed, &["Reused, TLSv1.3"]);
    assert!(resumed.1.windows(bytes.len()).any(|window| window == bytes), "the file, in a resumed session");
    // What a client sends before the handshake is over is not taken.
    fs::write(encrypted.bench.here("early"), "GET /early HTTP/1.0\r\n\r\n").expect("a file");
    let early = encrypted.openssl(GET, "-ign_eof -tls1_3 -sess_in session -early_data early");
    assert_says(&early, &["Early data was not sent"]);
    encrypted.server.end();
}

#[test]
#[ignore = "needs openssl and curl"]
fn clients_show_certificates_and_those_of_strangers_are_refused() {
    let ca = tempfile::tempdir().expect("a folder");
    let ca_file = ca.path().join("clients.pem");
    let clients = Authority::new("clients");
    fs::write(&ca_file, clients.pem()).expect("a file");
    let encrypted = Encrypted::new(&["--tls-client-ca", ca_file.to_str().expect("UTF-8")]);
    encrypted.serves("f", b"content");
    write_to(&clients.signs("box8"), &encrypted.bench.here("known"));
    let shows = |who: &str| format!("-ign_eof -cert {who}/cert.pem -key {who}/key.pem");
    for version in ["-tls1_2", "-tls1_3"] {
        assert_says(&encrypted.openssl(GET, &format!("{} {version}", shows("known"))), &["200 OK", "content"]);
        assert_says(&encrypted.openssl(GET, &format!("-ign_eof {version}")), &["200 OK", "content"]);
        let (_, said) = encrypted.openssl(GET, &format!("{} {version}", shows("client")));
        let said = String::from_utf8_lossy(&said);
        assert!(said.contains("alert unknown ca") && !said.contains("200 OK"), "{said}");
    }
    let url = encrypted.url("/f");
    let curl = |who: &str| {
        let [certificate, key] = ["cert.pem", "key.pem"].map(|name| format!("{who}/{name}"));
        encrypted.bench.run("curl", &["-sS", "--cacert", "ca.pem", "--cert", &certificate, "--key", &key, &url])
    };
    assert_eq!(curl("known"), (0, b"content".to_vec()));
    assert!(curl("client").0 != 0);
    encrypted.server.end();
}

#[test]
#[ignore = "needs curl"]
fn curl_stores_and_fetches_over_tls() {
    let encrypted = Encrypted::new(&[]);
    let bench = &encrypted.bench;
    let bytes = content(3, 64 << 20);
    fs::write(bench.here("up"), &bytes).expect("a file");
    let up = encrypted.url("/up");
    let ca = ["--cacert", "ca.pem"];
    let curl = |words: &[&str]| bench.curl(&[&ca, words].concat());
    for (version, status) in [("1.3", 201), ("1.2", 204)] {
        let tls = ["--tls-max", version];
        assert_eq!(curl(&[&tls[..], &["-T", "up", &up]].concat()).0, status);
        encrypted.assert_stored("up", &bytes);
        assert_same(&curl(&[&tls[..], &[&up]].concat()).1, &bytes, version);
    }
    assert_eq!(curl(&["-H", "Transfer-Encoding: chunked", "-T", "up", &encrypted.url("/chunked")]).0, 201);
    encrypted.assert_stored("chunked", &bytes);
    assert_same(&curl(&["-r", "1000-999999", &up]).1, &bytes[1000..1_000_000], "curl -r");
    fs::write(bench.here("down"), &bytes[..12_345_678]).expect("a file");
    assert_eq!(curl(&["-C", "-", "-o", "down", &up]).0, 206);
    assert_same(&fs::read(bench.here("down")).expect("resumed"), &bytes, "curl -C -");
    // HTTP/2 is asked for and not had, one connection serves both, and without its authority the server is not trusted.
    let twice =
        ["-sS", "--http2", "--cacert", "ca.pem", "-o", "one", "-o", "two", "-w", "%{http_version} %{num_connects};"];
    assert_eq!(bench.run("curl", &[&twice[..], &[&up, &up]].concat()), (0, b"1.1 1;1.1 0;".to_vec()));
    assert_same(&fs::read(bench.here("two")).expect("fetched"), &bytes, "the second");
    assert_eq!(bench.run("curl", &["-sS", &up]).0, 60);
    let plain = up.replacen("https", "http", 1);
    assert_eq!(bench.curl(&[&plain]), (400, b"This port speaks TLS: use https, not http.\n".to_vec()));
    encrypted.server.end();
}

#[test]
#[ignore = "needs wget and python3"]
fn wget_and_python_store_and_fetch_over_tls() {
    let encrypted = Encrypted::new(&[]);
    let bench = &encrypted.bench;
    let bytes = content(4, 20 << 20);
    encrypted.serves("f", &bytes);
    fs::write(bench.here("f"), &bytes[..5_000_000]).expect("a file");
    assert_eq!(bench.run("wget", &["-q", "-c", "--ca-certificate=ca.pem", &encrypted.url("/f")]).0, 0);
    assert_same(&fs::read(bench.here("f")).expect("fetched"), &bytes, "wget -c");
    assert_eq!(bench.run("wget", &["-q", "-O", "other", &encrypted.url("/f")]).0, 5, "it trusts nobody");
    let script = "
import http.client, ssl, sys
for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
    context = ssl.create_default_context(cafile='ca.pem')
    context.minimum_version = context.maximum_version = version
    link = http.client.HTTPSConnection('localhost', int(sys.argv[1]), context=context)
    content = open('f', 'rb').read()
    for _ in range(3):
        link.request('PUT', '/of_python', content)
        reply = link.getresponse()
        assert reply.status in (201, 204) and reply.read() is not None, reply.status
        link.request('GET', '/of_python', headers={'Range': 'bytes=5-'})
        reply = link.getresponse()
        assert reply.status == 206 and reply.read() == content[5:]
    # What the server says before it closes is followed by the close of TLS.
    raw = context.wrap_socket(__import__('socket').create_connection(('localhost', int(sys.argv[1]))), server_hostname='localhost', suppress_ragged_eofs=False)
    raw.sendall(b'GET /f HTTP/1.0\\r\\n\\r\\n')
    said = b''
    while part := raw.recv(1 << 20):
        said += part
    assert said.endswith(content), len(said)
";
    let port = encrypted.server.address().port().to_string();
    assert_eq!(bench.run("python3", &["-c", script, &port]), (0, Vec::new()));
    encrypted.assert_stored("of_python", &bytes);
    encrypted.server.end();
}

#[test]
#[ignore = "needs chromium, chromedriver and python3"]
fn the_page_stores_and_shows_files_over_tls_in_a_browser() {
    let encrypted = Encrypted::new(&[]);
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/page/encrypted.py");
    let (code, said) = encrypted.bench.run("python3", &[script.to_str().expect("UTF-8"), &encrypted.url("/")]);
    assert_eq!((code, said.escape_ascii().to_string().as_str()), (0, ""));
    let bytes: Vec<u8> = (0..3_000_000u32).map(|place| (place % 251) as u8).collect();
    encrypted.assert_stored("dropped.bin", &bytes);
}

#[test]
#[ignore = "needs haproxy and curl"]
fn haproxy_passes_tls_through_and_says_which_client_it_is() {
    let (server, v1, v2) = (free_address(), free_address(), free_address());
    let encrypted = Encrypted::at(&format!("auto@{server}?proxy=127.0.0.1&tls"), &[]);
    let bench = &encrypted.bench;
    let configuration = format!(
        "defaults\n mode tcp\n timeout connect 5s\n timeout client 30s\n timeout server 30s\n\
         listen one\n bind {v1}\n server s {server} send-proxy\n\
         listen two\n bind {v2}\n server s {server} send-proxy-v2 proxy-v2-options crc32c\n",
    );
    let _haproxy = proxy("haproxy", &["-db", "-f"], &bench.here(""), &configuration, v1);
    wait_until("the other port is bound", || TcpStream::connect(v2).is_ok());
    let bytes = content(5, 3_000_000);
    fs::write(bench.here("up"), &bytes).expect("a file");
    for (through, name) in [(v1, "one"), (v2, "two")] {
        let url = format!("https://localhost:{}/{name}", through.port());
        let stored = curl_from(bench, 5, &["--cacert", "ca.pem", "-T", "up", &url]);
        assert_eq!((stored.0, stored.1.as_str()), (0, "201"));
        encrypted.assert_stored(name, &bytes);
        let fetched = bench.curl(&["--cacert", "ca.pem", "--interface", "127.0.0.5", &url]);
        assert_same(&fetched.1, &bytes, name);
    }
    // Without the header of the proxy, no client is served.
    let direct = bench.run("curl", &["-sS", "-m", "60", "--cacert", "ca.pem", &format!("https://{server}/one")]);
    assert!(direct.0 != 0 && direct.1.is_empty());
    encrypted.server.end();
}

/// Findings of the auditor that are about the certificate of a test: it is not signed by an
/// authority that the system trusts, it cannot be revoked, and it does not expire.
const OF_THE_TEST: [&str; 7] = [
    "cert_chain_of_trust",
    "cert_trust",
    "cert_crlDistributionPoints",
    "cert_ocspURL",
    "cert_revocation",
    "cert_validityPeriod",
    "cert_extlifeSpan",
];

#[test]
#[ignore = "needs testssl.sh"]
fn an_auditor_finds_nothing_severe() {
    let encrypted = Encrypted::new(&[]);
    let address = encrypted.server.address().to_string();
    let flags = ["--quiet", "--color", "0", "--warnings", "off", "--csvfile", "found.csv"];
    let (_, said) = encrypted.bench.run("testssl", &[&flags[..], &[&address]].concat());
    let found = fs::read_to_string(encrypted.bench.here("found.csv")).expect("findings");
    let of = |severity: &str| {
        let lines = found.lines().filter(|line| line.split("\",\"").nth(3) == Some(severity));
        let id = |line: &&str| line.trim_start_matches('"').split('"').next().unwrap_or_default().to_owned();
        let is_of_the_test = |line: &&str| OF_THE_TEST.iter().any(|known| id(line).starts_with(known));
        lines.filter(|line| !is_of_the_test(line)).map(str::to_owned).collect::<Vec<_>>()
    };
    for severity in ["HIGH", "CRITICAL", "FATAL"] {
        assert_eq!(of(severity), Vec::<String>::new());
    }
    // It has really looked.
    for good in ["\"TLS1_2\"", "\"TLS1_3\"", "\"heartbleed\"", "\"cipher_negotiated\""] {
        assert!(found.contains(good), "{good} is not in:\n{}", String::from_utf8_lossy(&said));
    }
    println!("of severity MEDIUM: {:#?}\nLOW: {:#?}", of("MEDIUM"), of("LOW"));
    encrypted.server.end();
}

//! Real proxies that say in each request for which client it is, on connections that many clients share.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use rustix::process::Signal;
use support::client::wait_until;

use super::http::Bench;
use super::proxies::{curl_from, forged, free_address, proxy};

/// Each way to the server sets one field, but for `both`, and `chain` goes through nginx.
fn haproxy_before(server: SocketAddr, [common, standard, nginx, both, chain]: [SocketAddr; 5]) -> String {
    format!(
        "defaults\n mode http\n http-reuse always\n timeout connect 5s\n timeout client 30s\n timeout server 30s\n\
         listen common\n bind {common}\n option forwardfor\n server s {server}\n\
         listen standard\n bind {standard}\n http-request del-header X-Forwarded-For\n\
         http-request add-header Forwarded \"by=_me;for=%[src];proto=http\"\n server s {server}\n\
         listen both\n bind {both}\n option forwardfor\n\
         http-request set-header Forwarded \"for=%[src]\"\n server s {server}\n\
         listen chain\n bind {chain}\n option forwardfor\n server s {nginx}\n",
    )
}

fn nginx_before(server: SocketAddr, nginx: SocketAddr, home: &Path) -> String {
    format!(
        "daemon off; worker_processes 1; pid {home}/nginx.pid; error_log {home}/nginx.log;\n\
         events {{}}\n\
         http {{ access_log off; client_body_temp_path {home}/body; proxy_temp_path {home}/proxy;\n\
         fastcgi_temp_path {home}/f; uwsgi_temp_path {home}/u; scgi_temp_path {home}/s;\n\
         upstream files {{ server {server}; keepalive 1; }}\n\
         server {{ listen {nginx}; location / {{ proxy_pass http://files; proxy_http_version 1.1;\n\
         proxy_set_header Connection \"\"; proxy_set_header Forwarded \"\";\n\
         proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for; }} }} }}\n",
        home = home.display(),
    )
}

#[test]
#[ignore = "needs haproxy, nginx and curl"]
fn haproxy_and_nginx_name_the_client_of_each_request_and_no_other_peer_is_believed() {
    let bench = Bench::new(&["--token-file", "TOKEN"]);
    let (server, log, home) = (free_address(), bench.here("log"), bench.here(""));
    let token = bench.here("../token");
    let listen = format!("auto@{server}?trust=127.0.0.1,10.0.0.0/8");
    let options = ["--token-file", token.to_str().expect("UTF-8"), "--listen", &listen];
    let out = fs::File::create(&log).expect("a file");
    let (mut program, _) = crate::program::logging(&bench.here("proxied"), &options, out.into());
    let ways = [(); 5].map(|()| free_address());
    let [common, _, nginx, ..] = ways;
    let _haproxy = proxy("haproxy", &["-db", "-f"], &home, &haproxy_before(server, ways), common);
    let _nginx = proxy("nginx", &["-c"], &home, &nginx_before(server, nginx, &home), nginx);
    wait_until("every port is bound", || ways.iter().all(|address| TcpStream::connect(address).is_ok()));
    fs::write(bench.here("up"), "content").expect("a file");
    let log_of = |word: &str| {
        let lines = fs::read_to_string(&log).expect("a log");
        lines.lines().filter(|line| line.contains(word)).map(str::to_owned).collect::<Vec<_>>()
    };
    // Each request is known by its client, whatever that says itself.
    for (n, through) in ways.into_iter().enumerate() {
        for (visit, host) in [5, 6, 5, 7, 6].into_iter().enumerate() {
            let url = format!("http://{through}/{n}-{host}-{visit}");
            let stored = curl_from(&bench, host, &["-u", ":s3cret", "-T", "up", &url]);
            assert_eq!((stored.0, stored.1.as_str()), (0, "201"), "{through}");
            let forges = ["-u", ":s3cret", "-H", "X-Forwarded-For: 203.0.113.9", &url];
            let read = curl_from(&bench, host, &forges);
            assert_eq!((read.0, read.1.as_str()), (0, "content200"));
            let key = format!("key=\"/{n}-{host}-{visit}\"");
            let by = format!("peer=127.0.0.{host} via=127.0.0.1:");
            wait_until("the log has the transfers", || log_of(&key).len() == 2);
            assert!(log_of(&key).iter().all(|line| line.contains(&by)), "{:?}", log_of(&key));
        }
    }
    let used = log_of(" via=").into_iter().map(|line| {
        let via = line.split(" via=").nth(1).and_then(|rest| rest.split(' ').next());
        via.expect("a proxy").to_owned()
    });
    let (mut used, requests) = (used.collect::<Vec<_>>(), log_of(" via=").len());
    used.dedup();
    assert!(used.len() < requests / 2, "{} connections for {requests} requests", used.len());
    // The field that a proxy passes on may contradict the one that it sets, and then nothing is believed.
    let field = ["-u", ":s3cret", "-H", "Forwarded: for=203.0.113.9", &format!("http://{common}/0-5-0")];
    assert!(curl_from(&bench, 5, &field).1.ends_with("400"));
    // Straight to the server, from another address or where no proxy is trusted.
    let mut asked = 0;
    for to in [server, bench.server.address()] {
        for fields in [
            "X-Forwarded-For: 203.0.113.9",
            "Forwarded: for=203.0.113.9",
            "Forwarded: for=203.0.113.9\r\nX-Forwarded-For: 203.0.113.9",
            "X-Forwarded-For: 203.0.113.9, 127.0.0.1",
        ] {
            let asks = format!("GET /forged HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer s3cret\r\n{fields}\r\n\r\n");
            assert!(forged(to, 9, asks.as_bytes()).starts_with("HTTP/1.1 404 "));
            asked += usize::from(to == server);
        }
    }
    wait_until("the log has them", || log_of("key=\"/forged\"").len() == asked);
    assert!(log_of("key=\"/forged\"").iter().all(|line| line.contains("peer=127.0.0.9:")));
    assert_eq!(log_of("203.0.113.9"), [""; 0]);
    // One client that guesses is slowed down, and the others after the same proxy are not.
    let url = format!("http://{common}/0-5-0");
    let guesses = (0..20).map(|_| curl_from(&bench, 5, &["-u", ":wrong", "-o", "said", &url]).1);
    assert!(guesses.collect::<Vec<_>>().contains(&"429".to_owned()));
    for through in [common, nginx] {
        let knows = curl_from(&bench, 6, &["-u", ":s3cret", &format!("http://{through}/0-5-0")]);
        assert_eq!((knows.0, knows.1.as_str()), (0, "content200"));
    }
    program.signal(Signal::TERM);
    assert_eq!(program.wait(), Some(0));
    bench.server.end();
}

#[test]
#[ignore = "needs haproxy, nginx and curl"]
fn the_user_that_is_logged_in_at_a_proxy_is_the_caller_and_no_other_peer_is_believed() {
    let bench = Bench::new(&[]);
    let (server, home, root) = (free_address(), bench.here(""), bench.here("proxied"));
    let rules = "user anna proxy\nuser ben proxy\nallow anna rlcwd /anna/\nallow ben rlcwd /ben/\nallow @ r /pub/\n";
    fs::write(home.join("access"), rules).expect("a file");
    fs::set_permissions(home.join("access"), fs::Permissions::from_mode(0o600)).expect("a mode");
    fs::create_dir_all(root.join("pub")).expect("a folder");
    fs::write(root.join("pub/f"), "content").expect("a file");
    fs::write(home.join("users"), "anna:{PLAIN}a1\nben:{PLAIN}b2\ncarl:{PLAIN}c3\n").expect("a file");
    let listen = format!("http@{server}?trust=127.0.0.1&remote-user&allow-host=files");
    let access = home.join("access");
    let options = ["--access", access.to_str().expect("UTF-8"), "--listen", &listen, "--listen", "http@127.0.0.1:0"];
    let (mut program, _) = crate::program::logging(&root, &options, std::process::Stdio::null());
    let (nginx, anonymous) = (free_address(), free_address());
    let configuration = nginx_before(server, nginx, &home).replace(
        "proxy_set_header Forwarded",
        &format!(
            "auth_basic files; auth_basic_user_file {}; proxy_set_header Remote-User $remote_user;\n\
             proxy_set_header Forwarded",
            home.join("users").display()
        ),
    );
    let _nginx = proxy("nginx", &["-c"], &home, &configuration, nginx);
    let configuration = format!(
        "defaults\n mode http\n http-reuse always\n timeout connect 5s\n timeout client 30s\n timeout server 30s\n\
         listen anonymous\n bind {anonymous}\n option forwardfor\n http-request del-header Remote-User\n\
         server s {server}\n",
    );
    let _haproxy = proxy("haproxy", &["-db", "-f"], &home, &configuration, anonymous);
    fs::write(bench.here("up"), "content").expect("a file");
    let ask = |to: SocketAddr, name: &str, arguments: &[&str]| {
        let url = format!("http://{to}{name}");
        let said = curl_from(&bench, 9, &[&["-o", "said"], arguments, &[&url]].concat()).1;
        said.parse::<u16>().expect("a status")
    };
    let forges = ["-H", "Remote-User: anna"];
    for n in 0..5 {
        // They share the connections of the proxy.
        for (user, wanted) in [("anna:a1", [201, 403, 200]), ("ben:b2", [403, 201, 200]), ("carl:c3", [403; 3])] {
            for more in [&[][..], &forges] {
                let by = [&["-u", user], more].concat();
                let put = [&by[..], &["-T", "up"]].concat();
                let name = |dir: &str| format!("/{dir}/{n}-{}", more.len());
                let said = [ask(nginx, &name("anna"), &put), ask(nginx, &name("ben"), &put), ask(nginx, "/pub/f", &by)];
                assert_eq!(said, wanted, "{user} {more:?}");
            }
        }
        assert_eq!(ask(nginx, "/pub/f", &forges), 401, "nginx asks for a user");
        for to in [anonymous, server, program.addresses[1]] {
            assert_eq!([ask(to, "/anna/0-0", &forges), ask(to, "/pub/f", &forges)], [401, 200], "{to}");
        }
    }
    program.signal(Signal::TERM);
    assert_eq!(program.wait(), Some(0));
    bench.server.end();
}

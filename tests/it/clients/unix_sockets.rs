//! Programs that reach the server over a Unix socket: curl, nc, and nginx and HAProxy in front of it.

use std::fs;

use support::client::{assert_same, content, wait_until};

use super::http::Bench;
use super::proxies::{curl_from, free_address, proxy};

#[test]
#[ignore = "needs curl and netcat-openbsd"]
fn curl_and_nc_store_and_fetch_over_it() {
    let dir = tempfile::tempdir().expect("a folder");
    let socket = dir.path().join("socket").display().to_string();
    let bench = Bench::new(&["--listen", &format!("unix:{socket}")]);
    let bytes = content(1, 20_000_000);
    fs::write(bench.here("up"), &bytes).expect("a file");
    let url = "http://localhost/new/file";
    assert_eq!(bench.curl(&["--unix-socket", &socket, "-T", "up", url]).0, 201);
    let (code, got) = bench.curl(&["--unix-socket", &socket, "--limit-rate", "40M", url]);
    assert_eq!(code, 200);
    assert_same(&got, &bytes, "by curl");
    let ask = format!("printf 'GET /new/file\\n' | nc -N -U '{socket}'");
    let (code, got) = bench.run("sh", &["-c", &ask]);
    assert_eq!(code, 0);
    let head = got.iter().position(|byte| *byte == b'\n').expect("a line");
    assert_same(&got[head + 1..], &bytes, "by nc");
    let ask = format!("printf 'PUT 5 /line\\nhello' | nc -N -U '{socket}'");
    assert!(bench.run("sh", &["-c", &ask]).1.starts_with(b"OK 0 "));
    assert_eq!(fs::read(bench.served("line")).expect("it is stored"), b"hello");
    bench.server.end();
}

#[test]
#[ignore = "needs nginx, haproxy and curl"]
fn nginx_and_haproxy_name_their_clients_over_it() {
    let bench = Bench::new(&[]);
    let home = bench.here("");
    let [trusted, proxied] = ["trusted", "proxied"].map(|name| bench.here(name).display().to_string());
    let listens = [format!("unix:{trusted}?trust=127.0.0.1"), format!("unix:{proxied}?proxy=127.0.0.1")];
    let log = fs::File::create(bench.here("log")).expect("a file");
    let options = ["--listen", &listens[0], "--listen", &listens[1]];
    let (program, _) = crate::program::logging(&bench.here("root"), &options, log.into());
    let [nginx, haproxy] = [(); 2].map(|()| free_address());
    let configuration = format!(
        "daemon off; user root; worker_processes 1; pid {home}/nginx.pid; error_log {home}/nginx.log;\n\
         events {{}}\n\
         http {{ access_log off; client_max_body_size 0; client_body_temp_path {home}/body; proxy_temp_path {home}/proxy;\n\
         fastcgi_temp_path {home}/f; uwsgi_temp_path {home}/u; scgi_temp_path {home}/s;\n\
         server {{ listen {nginx}; location / {{ proxy_pass http://unix:{trusted}:/; proxy_set_header Forwarded \"\";\n\
         proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for; }} }} }}\n",
        home = home.display(),
    );
    let _nginx = proxy("nginx", &["-c"], &home, &configuration, nginx);
    let configuration = format!(
        "defaults\n mode http\n timeout connect 5s\n timeout client 30s\n timeout server 30s\n\
         listen in\n bind {haproxy}\n server s unix@{proxied} send-proxy-v2\n",
    );
    let _haproxy = proxy("haproxy", &["-db", "-f"], &home, &configuration, haproxy);
    fs::write(bench.here("up"), content(2, 3_000_000)).expect("a file");
    for (host, through) in [(5, nginx), (6, haproxy)] {
        let url = format!("http://{through}/{host}");
        assert_eq!(curl_from(&bench, host, &["-T", "up", &url]), (0, "201".to_owned()));
        assert_eq!(curl_from(&bench, host, &["-o", "down", &url]), (0, "200".to_owned()));
        assert_eq!(fs::read(bench.here("down")).expect("a file"), content(2, 3_000_000));
        let client = format!("peer=127.0.0.{host}");
        wait_until("both requests are logged", || {
            let text = fs::read_to_string(bench.here("log")).expect("a log");
            text.lines().filter(|line| line.contains(&client) && line.contains(&format!("\"/{host}\""))).count() == 2
        });
    }
    program.end();
    bench.server.end();
}

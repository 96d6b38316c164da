//! The address of the operator beside those that are served.

use support::client::Client;

use super::{fails, start};

#[test]
fn the_operator_has_an_address_that_is_announced_last() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let token = dir.path().join("token");
    std::fs::write(&token, "s3cret").expect("a file");
    let options = ["--admin", "127.0.0.1:0", "--token-file", token.to_str().expect("UTF-8"), "--path-prefix", "/p"];
    let program = start(&dir.path().join("root"), &options);
    let [served, admin] = program.addresses[..] else { panic!("{}", program.said) };
    assert_eq!(program.said, format!("listening on {served} (auto)\nlistening on {admin} (admin)\n"));
    let ask = |address, head: &str| {
        let mut client = Client::connect(address);
        client.send(format!("{head} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"));
        client.last_words()
    };
    for (path, wanted) in [("/ready", "ok\n"), ("/connections", "\"shown\":1,\"open\":1}\n"), ("/metrics", "\n")] {
        let said = ask(admin, &format!("GET {path}"));
        assert!(said.starts_with("HTTP/1.1 200 ") && said.ends_with(wanted), "{path}: {said}");
    }
    assert!(ask(admin, "GET /").starts_with("HTTP/1.1 404 "));
    assert!(ask(served, "GET /p/ready").starts_with("HTTP/1.1 401 "));
    program.end();
    let wrong = fails(&["serve", "--admin", "9090"], 2);
    assert!(wrong.contains("\"9090\" is not ADDR:PORT, for example 127.0.0.1:9090"), "{wrong}");
}

//! The address of the operator beside those that are served.

use std::net::{SocketAddr, TcpStream};

use socket2::{Domain, Socket, Type};
use support::client::{Client, wait_until};

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

#[test]
fn a_full_server_still_tells_the_operator_how_it_is() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let options = ["--max-connections", "2", "--per-address", "50", "--admin", "127.0.0.1:0"];
    let program = start(&dir.path().join("root"), &options);
    let [served, admin] = program.addresses[..] else { panic!("{}", program.said) };
    let said = |client: &mut Client, request: &str| {
        client.send(request);
        client.line()
    };
    let mut clients = [Client::connect(served), Client::over(from_another_address(served))];
    clients.iter_mut().for_each(|client| assert_eq!(said(client, "PING\n"), "OK 0"));
    let mut another = Client::connect(served);
    assert!(said(&mut another, "PING\n").starts_with("ERR 429 "));
    let asks = "GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let mut operators: Vec<Client> = (0..16).map(|_| Client::connect(admin)).collect();
    operators.iter_mut().for_each(|operator| assert_eq!(said(operator, asks), "HTTP/1.1 200 OK\r"));
    let mut more = Client::connect(admin);
    assert!(said(&mut more, asks).starts_with("HTTP/1.1 429 "));
    // They take no place of a client.
    drop(clients);
    wait_until("a client has a place again", || said(&mut Client::connect(served), "PING\n") == "OK 0");
}

fn from_another_address(to: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.bind(&SocketAddr::from(([127, 0, 0, 2], 0)).into()).expect("an address of this machine");
    socket.connect(&to.into()).expect("it listens");
    socket.into()
}

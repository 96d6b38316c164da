//! The metrics, as the tool of Prometheus judges them: their syntax, names, units and help.

use super::http::Bench;

#[test]
#[ignore = "needs promtool and curl"]
fn promtool_finds_nothing_wrong_in_the_metrics() {
    let bench = Bench::new(&["--admin", "127.0.0.1:0"]);
    let mut client = bench.server.client();
    client.put("/f", &[b'x'; 100_000]);
    client.expect("GET /none", "ERR 404 ");
    let admin = format!("http://{}/metrics", bench.server.addresses[1]);
    for url in [bench.url("/.filewharf/metrics"), admin] {
        let check = format!("set -o pipefail; curl -sSf {url} | promtool check metrics 2>&1");
        let (code, said) = bench.run("bash", &["-c", &check]);
        assert_eq!((code, String::from_utf8_lossy(&said).trim()), (0, ""), "{url}");
    }
    bench.server.end();
}

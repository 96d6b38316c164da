//! Headers of the PROXY protocol, whole, cut at every place, and broken.

use proptest::prelude::*;

use super::*;

const LEN_MAX: usize = 8192;

fn address(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

fn v2(command: u8, family: u8, content: &[u8]) -> Vec<u8> {
    let len = u16::try_from(content.len()).expect("a short header").to_be_bytes();
    [&V2_SIGNATURE[..], &[0x20 | command, family], &len, content].concat()
}

const IPV4: [u8; 12] = [192, 0, 2, 1, 198, 51, 100, 2, 0x1F, 0x90, 0, 80];

fn ipv6() -> Vec<u8> {
    let ip = |last: u8| [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last];
    [&ip(1)[..], &ip(2), &[0x1F, 0x90, 0, 80]].concat()
}

/// A header with this content, an extension and a checksum after it.
fn with_checksum(command: u8, family: u8, content: &[u8]) -> Vec<u8> {
    let content = [content, &[0x04, 0, 2, 7, 7], &[0x03, 0, 4], &[0; 4]].concat();
    let mut header = v2(command, family, &content);
    let sum = !crc32c(!0, &header);
    let at = header.len() - 4;
    header[at..].copy_from_slice(&sum.to_be_bytes());
    header
}

#[test]
fn the_checksum_is_that_of_the_standard() {
    // The check value of CRC-32C (RFC 3720, B.4 has others).
    assert_eq!(!crc32c(!0, b"123456789"), 0xE306_9283);
    assert_eq!(!crc32c(!0, &[0; 32]), 0x8A91_36AA);
}

#[test]
fn a_header_gives_the_client_at_every_split_and_never_before_its_end() {
    let v4 = Some(address("192.0.2.1:8080"));
    let v6 = Some(address("[2001:db8::1]:8080"));
    let longest = format!("PROXY UNKNOWN {0} {0} 65535 65535\r\n", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff");
    assert_eq!(longest.len(), V1_LEN_MAX);
    let cases: [(Vec<u8>, Option<SocketAddr>); 16] = [
        (b"PROXY TCP4 192.0.2.1 198.51.100.2 8080 80\r\n".to_vec(), v4),
        (b"PROXY TCP6 2001:db8::1 2001:db8::2 8080 80\r\n".to_vec(), v6),
        (b"PROXY TCP4 192.0.2.1 198.51.100.2 0 65535\r\n".to_vec(), Some(address("192.0.2.1:0"))),
        (b"PROXY UNKNOWN\r\n".to_vec(), None),
        (longest.into_bytes(), None),
        (v2(1, 0x11, &IPV4), v4),
        (v2(1, 0x21, &ipv6()), v6),
        (v2(1, 0x11, &[&IPV4[..], &[0x20, 0, 3, 1, 2, 3, 0xEA, 0, 0]].concat()), v4),
        (v2(1, 0x31, &[1; 216]), None),
        (v2(1, 0x12, &IPV4), None),
        (v2(1, 0x00, b""), None),
        (v2(0, 0x00, b""), None),
        // What LOCAL says besides is ignored, though it be nonsense.
        (v2(0, 0xFF, b"nonsense"), None),
        (with_checksum(1, 0x11, &IPV4), v4),
        (with_checksum(1, 0x21, &ipv6()), v6),
        (with_checksum(0, 0x00, b""), None),
    ];
    for (header, client) in cases {
        let whole = Ok(Some(Header { len: header.len(), client }));
        for split in 0..header.len() {
            assert_eq!(parse(&header[..split], LEN_MAX), Ok(None), "{split} of {header:?}");
        }
        for after in [&b""[..], b"GET / HTTP/1.1\r\n\r\n", b"PROXY UNKNOWN\r\n", &[0; 300]] {
            assert_eq!(parse(&[&header, after].concat(), LEN_MAX), whole, "{header:?}");
        }
        assert_eq!(parse(&header, header.len()), whole);
        assert_eq!(parse(&header, header.len() - 1), Err(HeaderError::TooLong));
        assert_eq!(parse(&header[..header.len() - 1], header.len() - 1), Err(HeaderError::TooLong));
    }
}

#[test]
fn what_is_no_header_is_refused_at_its_first_wrong_byte() {
    for bytes in [&b"GET / HTTP/1.1\r\n"[..], b"PUT 5 a\n", b"proxy TCP4", b"\r\n\r\n\r\n", b"PROXX", b"\0"] {
        assert_eq!(parse(bytes, LEN_MAX), Err(HeaderError::Missing), "{bytes:?}");
    }
    assert_eq!(parse(b"", LEN_MAX), Ok(None));
}

#[test]
fn a_malformed_header_is_refused() {
    let lines = [
        "PROXY \r\n",
        "PROXY TCP4\r\n",
        "PROXY TCP5 192.0.2.1 198.51.100.2 8080 80\r\n",
        "PROXY  TCP4 192.0.2.1 198.51.100.2 8080 80\r\n",
        "PROXY TCP4 192.0.2.1  198.51.100.2 8080 80\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.2 8080 80 \r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.2 8080\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.2 08080 80\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.2 +8080 80\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.2 65536 80\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.2 8080 80\n\r\n",
        "PROXY TCP4 192.0.2.256 198.51.100.2 8080 80\r\n",
        "PROXY TCP4 192.0.2.1 2001:db8::2 8080 80\r\n",
        "PROXY TCP4 2001:db8::1 2001:db8::2 8080 80\r\n",
        "PROXY TCP6 192.0.2.1 198.51.100.2 8080 80\r\n",
        "PROXY TCP6 [2001:db8::1] 2001:db8::2 8080 80\r\n",
        "PROXY UNKNOWNS\r\n",
    ];
    for line in lines {
        assert!(matches!(parse(line.as_bytes(), LEN_MAX), Err(HeaderError::Malformed(_))), "{line:?}");
    }
    let endless = [V1_START, &[b'1'; V1_LEN_MAX]].concat();
    assert_eq!(parse(&endless[..V1_LEN_MAX], LEN_MAX), Err(HeaderError::TooLong));
    let mut late = [V1_START, &[b'1'; V1_LEN_MAX - 6 - 1], b"\r\n"].concat();
    assert_eq!(parse(&late, LEN_MAX), Err(HeaderError::TooLong));
    late[..13].copy_from_slice(b"PROXY UNKNOWN");
    assert_eq!(parse(&late, LEN_MAX), Err(HeaderError::TooLong));
    let mut version_1 = v2(1, 0x11, &IPV4);
    version_1[12] = 0x11;
    let binary = [
        version_1,
        v2(2, 0x11, &IPV4),
        v2(1, 0x13, &IPV4),
        v2(1, 0x41, &IPV4),
        v2(1, 0x11, &IPV4[..11]),
        v2(1, 0x21, &ipv6()[..35]),
        v2(1, 0x31, &[1; 215]),
        v2(1, 0x11, &[&IPV4[..], &[4]].concat()),
        v2(1, 0x11, &[&IPV4[..], &[4, 0, 2, 7]].concat()),
        v2(1, 0x11, &[&IPV4[..], &[3, 0, 3, 1, 2, 3]].concat()),
        v2(1, 0x11, &[&with_checksum(1, 0x11, &IPV4)[16..], &[3, 0, 4, 0, 0, 0, 0]].concat()),
    ];
    for header in binary {
        assert!(matches!(parse(&header, LEN_MAX), Err(HeaderError::Malformed(_))), "{header:?}");
    }
}

#[test]
fn a_flipped_bit_never_passes_the_checksum_with_another_client() {
    let header = with_checksum(1, 0x11, &IPV4);
    for bit in 0..header.len() * 8 {
        let mut broken = header.clone();
        broken[bit / 8] ^= 1 << (bit % 8);
        let parsed = parse(&broken, LEN_MAX);
        // A bit of the type of the checksum hides it, and nothing else has changed then.
        let client = parsed.ok().flatten().and_then(|header| header.client);
        assert!(client.is_none_or(|client| client == address("192.0.2.1:8080")), "{bit}: {parsed:?}");
        assert!(bit / 8 >= 28 || !matches!(parsed, Ok(Some(_))), "{bit}: {parsed:?}");
    }
    let mut local = with_checksum(0, 0x00, b"");
    let last = local.len() - 1;
    local[last] ^= 1;
    assert_eq!(parse(&local, LEN_MAX), Err(HeaderError::Checksum));
}

proptest! {
    #[test]
    fn any_bytes_are_judged_without_a_panic_and_alike_in_pieces(
        start in prop_oneof![Just(&b""[..]), Just(V1_START), Just(&V2_SIGNATURE[..]), Just(&b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0"[..])],
        bytes in prop::collection::vec(any::<u8>(), 0..300),
        len_max in 1_usize..300,
    ) {
        let bytes = [start, &bytes].concat();
        let whole = parse(&bytes, len_max);
        if let Ok(Some(header)) = whole {
            prop_assert!(header.len <= bytes.len() && header.len <= len_max);
        }
        for split in 0..bytes.len() {
            match parse(&bytes[..split], len_max) {
                Ok(None) => {}
                decided => {
                    prop_assert!(decided == whole || decided.is_err() && whole.is_err());
                    break;
                }
            }
        }
    }

    #[test]
    fn every_client_is_read_as_it_was_written(ip in any::<IpAddr>(), port in any::<u16>(), version in 1..=2) {
        let client = SocketAddr::new(ip, port);
        let bytes = match (version, ip) {
            (1, IpAddr::V4(_)) => format!("PROXY TCP4 {ip} 0.0.0.0 {port} 1\r\n").into_bytes(),
            (1, IpAddr::V6(_)) => format!("PROXY TCP6 {ip} :: {port} 1\r\n").into_bytes(),
            (_, IpAddr::V4(ip)) => {
                with_checksum(1, 0x11, &[&ip.octets()[..], &[0; 4], &port.to_be_bytes(), &[0, 1]].concat())
            }
            (_, IpAddr::V6(ip)) => {
                with_checksum(1, 0x21, &[&ip.octets()[..], &[0; 16], &port.to_be_bytes(), &[0, 1]].concat())
            }
        };
        prop_assert_eq!(parse(&bytes, LEN_MAX), Ok(Some(Header { len: bytes.len(), client: Some(client) })));
    }
}

//! The client that a proxy forwards for: `Forwarded` (RFC 7239) and `X-Forwarded-For`; and its user: `Remote-User`.
//! Never decides which proxies are trusted.
//!
//! Each proxy on the way appends the address that it was reached from, so only the end of a list is known to be true:
//! the client is the last address that belongs to no trusted proxy. What stands before it may be forged, and is never
//! looked at in `X-Forwarded-For`. In `Forwarded` a quote that was forged could reach into what a proxy has appended,
//! so a line must be correct as a whole.

#[cfg(test)]
mod tests;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::wire::http::head::{ForwardedFields, HeadError};
use crate::wire::http::syntax::is_token;

/// The address of a client that its proxy does not tell.
pub const UNKNOWN: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

/// Most trusted proxies that a request may come through.
const HOPS_MAX: usize = 64;

type Hop = Result<IpAddr, HeadError>;

/// The client that the fields of a head name; `None` if there are no such fields. Where all
/// addresses are trusted, it is the first.
///
/// A proxy sets one of the two fields, and passes on what a client sends as the other: where there are both, they must
/// name the same client.
pub fn client(fields: &ForwardedFields<'_>, trusts: impl Fn(IpAddr) -> bool) -> Result<Option<IpAddr>, HeadError> {
    let common = fields.x_forwarded_for.iter().rev().flat_map(|value| value.rsplit(|byte| *byte == b','));
    let common = common.map(<[u8]>::trim_ascii).filter(|node| !node.is_empty()).map(node);
    let common = last_untrusted(common, &trusts)?;
    let mut hops = Vec::new();
    for line in fields.forwarded.iter().rev() {
        let before = hops.len();
        elements(line, &mut hops)?;
        hops[before..].reverse();
    }
    let standard = last_untrusted(hops.into_iter(), &trusts)?;
    match (standard, common) {
        (Some(one), Some(other)) if one != other => {
            Err(HeadError::BadRequest("Forwarded and X-Forwarded-For name different clients"))
        }
        _ => Ok(standard.or(common)),
    }
}

/// The user that a proxy says is logged in there. Two are refused: a proxy that appends its own leaves one that was
/// forged.
pub fn remote_user<'a>(fields: &ForwardedFields<'a>) -> Result<Option<&'a str>, HeadError> {
    let user = match fields.remote_user[..] {
        [] | [b""] => return Ok(None),
        [user] => user,
        _ => return Err(HeadError::BadRequest("Remote-User stands twice")),
    };
    std::str::from_utf8(user).map(Some).map_err(|_| HeadError::BadRequest("a field value is not UTF-8"))
}

/// `hops`: the last comes first.
fn last_untrusted(
    hops: impl Iterator<Item = Hop>,
    trusts: impl Fn(IpAddr) -> bool,
) -> Result<Option<IpAddr>, HeadError> {
    let mut first = None;
    for (at, hop) in hops.enumerate() {
        if at == HOPS_MAX {
            return Err(HeadError::BadRequest("the request came through too many proxies"));
        }
        let hop = hop?;
        first = Some(hop);
        if hop == UNKNOWN || !trusts(hop) {
            break;
        }
    }
    Ok(first)
}

const MALFORMED: HeadError = HeadError::BadRequest("the Forwarded field breaks its grammar");

/// Appends the hop of each element of a line (RFC 7239 §4).
fn elements(mut rest: &[u8], hops: &mut Vec<Hop>) -> Result<(), HeadError> {
    loop {
        rest = rest.trim_ascii_start();
        match rest {
            [] => return Ok(()),
            [b',', after @ ..] => rest = after,
            _ => {
                let hop;
                (hop, rest) = element(rest)?;
                hops.push(hop);
            }
        }
    }
}

/// The hop of the first element, and what follows it: nothing, or its comma. A proxy that does not
/// say `for` does not tell its client.
fn element(mut rest: &[u8]) -> Result<(Hop, &[u8]), HeadError> {
    let mut hop = None;
    loop {
        rest = rest.trim_ascii_start();
        match rest {
            [] | [b',', ..] => return Ok((hop.unwrap_or(Ok(UNKNOWN)), rest)),
            [b';', after @ ..] => rest = after,
            _ => {
                let Pair { name, value, after } = pair(rest)?;
                if name.eq_ignore_ascii_case(b"for") && hop.replace(node(&value)).is_some() {
                    return Err(MALFORMED);
                }
                if !matches!(after.trim_ascii_start(), [] | [b',' | b';', ..]) {
                    return Err(MALFORMED);
                }
                rest = after;
            }
        }
    }
}

struct Pair<'a> {
    name: &'a [u8],
    value: Vec<u8>,
    /// What follows it.
    after: &'a [u8],
}

/// The first `name=value`. Without quotes an address with a port is no token, but is sent.
fn pair(text: &[u8]) -> Result<Pair<'_>, HeadError> {
    let equals = text.iter().position(|byte| !is_token(*byte)).filter(|at| *at > 0 && text[*at] == b'=');
    let (name, value) = text.split_at(equals.ok_or(MALFORMED)?);
    match &value[1..] {
        [b'"', quoted @ ..] => {
            let (value, after) = unquoted(quoted)?;
            Ok(Pair { name, value, after })
        }
        value => {
            let is_end = |byte: &u8| !is_token(*byte) && !b":[]".contains(byte);
            let (value, after) = value.split_at(value.iter().position(is_end).unwrap_or(value.len()));
            if value.is_empty() { Err(MALFORMED) } else { Ok(Pair { name, value: value.to_vec(), after }) }
        }
    }
}

/// A quoted string after its first quote (RFC 9110 §5.6.4), and what follows it.
fn unquoted(text: &[u8]) -> Result<(Vec<u8>, &[u8]), HeadError> {
    let mut value = Vec::new();
    let mut at = 0;
    while let Some(byte) = text.get(at) {
        match byte {
            b'"' => return Ok((value, &text[at + 1..])),
            b'\\' => {
                at += 1;
                value.push(*text.get(at).ok_or(MALFORMED)?);
            }
            byte => value.push(*byte),
        }
        at += 1;
    }
    Err(MALFORMED)
}

/// An address with an optional port, or an identifier that hides it (RFC 7239 §6).
fn node(node: &[u8]) -> Hop {
    let bad = HeadError::BadRequest("a proxy names a client that is no address");
    let node = std::str::from_utf8(node).map_err(|_| bad)?;
    if let Some(bracketed) = node.strip_prefix('[') {
        let (address, port) = bracketed.split_once(']').ok_or(bad)?;
        let address: Ipv6Addr = address.parse().map_err(|_| bad)?;
        return if is_port(port) { Ok(IpAddr::V6(address).to_canonical()) } else { Err(bad) };
    }
    if let Ok(address) = node.parse::<IpAddr>() {
        return Ok(address.to_canonical());
    }
    let (name, port) = node.split_at(node.find(':').unwrap_or(node.len()));
    let is_hidden = name.eq_ignore_ascii_case("unknown") || name.starts_with('_') && is_obscure(name);
    match name.parse::<Ipv4Addr>() {
        _ if !is_port(port) => Err(bad),
        Ok(address) => Ok(address.into()),
        Err(_) if is_hidden => Ok(UNKNOWN),
        Err(_) => Err(bad),
    }
}

/// Nothing, or a colon and a port, which may be hidden as well.
fn is_port(text: &str) -> bool {
    let Some(port) = text.strip_prefix(':') else { return text.is_empty() };
    let is_number = (1..=5).contains(&port.len()) && port.bytes().all(|byte| byte.is_ascii_digit());
    is_number || port.starts_with('_') && is_obscure(port)
}

fn is_obscure(name: &str) -> bool {
    name.len() > 1 && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}

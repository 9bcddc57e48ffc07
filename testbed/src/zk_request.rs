//! Requests of ZooKeeper's protocol as text, for tests that count them: `set /a`, `multi [check /a, create /b/c]`.

use std::fmt;

use crate::journal::Jute;

const MULTI: i32 = 14;
const MULTI_READ: i32 = 22;

/// Returns a request as text, from its frame without the length. Requests of an unknown form have only their op code.
pub(crate) fn describe(frame: &[u8]) -> String {
    let mut input = Jute(frame);
    let parsed = input.int().zip(input.int()).and_then(|(_, op_code)| {
        if op_code == MULTI || op_code == MULTI_READ {
            return Some(format!("{} [{}]", Op(op_code), operations(&mut input)?.join(", ")));
        }
        Some(match input.text().filter(|path| path.starts_with('/')) {
            Some(path) => format!("{} {path}", Op(op_code)),
            None => Op(op_code).to_string(),
        })
    });
    parsed.unwrap_or_else(|| format!("op {:?}", frame.get(4..8)))
}

fn operations(input: &mut Jute<'_>) -> Option<Vec<String>> {
    let mut operations = Vec::new();
    loop {
        let (op_code, is_end, _error) = (input.int()?, input.bytes(1)? != [0], input.int()?);
        if is_end {
            return Some(operations);
        }
        operations.push(format!("{} {}", Op(op_code), input.text()?));
        match op_code {
            // Data, access control list, flags.
            1 | 15 | 19 => drop((input.buffer()?, input.acl()?, input.int()?)),
            // Version.
            2 | 13 => drop(input.int()?),
            // Data, version.
            5 => drop((input.buffer()?, input.int()?)),
            // Whether to watch.
            4 | 8 => drop(input.bytes(1)?),
            _ => return None,
        }
    }
}

struct Op(i32);

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            1 | 15 => "create",
            2 => "delete",
            3 => "exists",
            4 => "get",
            5 => "set",
            6 => "acl",
            8 | 12 => "children",
            9 => "sync",
            11 => "ping",
            13 => "check",
            MULTI => "multi",
            19 => "create container",
            MULTI_READ => "multi-read",
            -11 => "close",
            op_code => return write!(f, "op {op_code}"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Vec<u8> {
        [&(text.len() as i32).to_be_bytes()[..], text.as_bytes()].concat()
    }

    fn request(op_code: i32, body: &[&[u8]]) -> Vec<u8> {
        [&7i32.to_be_bytes()[..], &op_code.to_be_bytes(), &body.concat()].concat()
    }

    #[test]
    fn requests_have_their_operation_and_path() {
        let one = 1i32.to_be_bytes();
        assert_eq!(describe(&request(5, &[&text("/a"), &text("data"), &one])), "set /a");
        assert_eq!(describe(&request(11, &[])), "ping");
        assert_eq!(describe(&request(101, &[&one])), "op 101");
        assert_eq!(describe(&[0; 3]), "op None");
    }

    #[test]
    fn multi_has_the_operations_in_order() {
        let header = |op: i32| [&op.to_be_bytes()[..], &[0], &(-1i32).to_be_bytes()].concat();
        let end = [&(-1i32).to_be_bytes()[..], &[1], &(-1i32).to_be_bytes()].concat();
        let (one, none) = (1i32.to_be_bytes(), (-1i32).to_be_bytes());
        let body: [&[u8]; 16] = [
            &header(13),
            &text("/leader"),
            &one,
            &header(1),
            &text("/reports/1"),
            &text("{}"),
            &one,
            &one,
            &text("world"),
            &text("anyone"),
            &one,
            &header(5),
            &text("/fence"),
            // Without data.
            &none,
            &one,
            &end,
        ];
        assert_eq!(describe(&request(MULTI, &body)), "multi [check /leader, create /reports/1, set /fence]");
        assert_eq!(describe(&request(MULTI, &body[..15])), "op Some([0, 0, 0, 14])", "it is incomplete");
    }
}

//! One frame, decoded as everything that a client may send.

use bytes::{Bytes, BytesMut};

use crate::zookeeper::acl::Acl;
use crate::zookeeper::protocol::{ConnectRequest, Read, Request, Write, decode};

/// Decodes bytes as a first frame and as a request. What is one is encoded and decoded again, which must give the same,
/// and takes no more memory than its bytes allow for.
pub fn codec(bytes: &[u8]) {
    let frame = Bytes::copy_from_slice(bytes);
    if let Ok(request) = ConnectRequest::decode(frame.clone()) {
        let mut out = BytesMut::new();
        request.encode(&mut out);
        assert_eq!(ConnectRequest::decode(out.freeze()).as_ref(), Ok(&request));
    }
    if let Ok((xid, Ok(request))) = decode(frame) {
        let weight = weight(&request);
        assert!(weight <= 32 * bytes.len() + 256, "{weight} bytes of memory for {} bytes", bytes.len());
        let mut out = BytesMut::new();
        request.encode(xid, &mut out);
        assert_eq!(decode(out.freeze()), Ok((xid, Ok(request))));
    }
}

/// Bytes of memory that a request holds beside the frame, which its buffers are parts of.
fn weight(request: &Request) -> usize {
    match request {
        Request::Write(write) => of_write(write),
        Request::Multi(writes) => of_vector(writes) + writes.iter().map(of_write).sum::<usize>(),
        Request::MultiRead(reads) => {
            let of_read = |(Read::Data { path, .. } | Read::Children { path, .. }): &Read| path.capacity();
            of_vector(reads) + reads.iter().map(of_read).sum::<usize>()
        }
        Request::SetWatches(watches) => {
            let all =
                [&watches.data, &watches.exist, &watches.child, &watches.persistent, &watches.recursive];
            all.into_iter()
                .map(|paths| of_vector(paths) + paths.iter().map(String::capacity).sum::<usize>())
                .sum()
        }
        Request::Exists { path, .. }
        | Request::GetData { path, .. }
        | Request::GetChildren { path, .. }
        | Request::GetAcl { path }
        | Request::Sync { path }
        | Request::CheckWatches { path, .. }
        | Request::RemoveWatches { path, .. }
        | Request::Auth { scheme: path, .. }
        | Request::GetEphemerals { prefix: path }
        | Request::GetAllChildrenNumber { path }
        | Request::AddWatch { path, .. } => path.capacity(),
        Request::Ping | Request::Reconfig | Request::WhoAmI | Request::CloseSession => 0,
    }
}

fn of_write(write: &Write) -> usize {
    let of_acl = |acl: &Vec<Acl>| {
        of_vector(acl) + acl.iter().map(|acl| acl.id.scheme.len() + acl.id.id.len()).sum::<usize>()
    };
    match write {
        Write::Create(create) => create.path.capacity() + of_acl(&create.acl),
        Write::SetAcl { path, acl, .. } => path.capacity() + of_acl(acl),
        Write::Delete { path, .. } | Write::SetData { path, .. } | Write::Check { path, .. } => {
            path.capacity()
        }
    }
}

fn of_vector<T>(elements: &Vec<T>) -> usize {
    elements.capacity() * size_of::<T>()
}

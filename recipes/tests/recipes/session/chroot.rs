use crate::support::TestBed;

#[test]
fn session_creates_a_missing_chroot_and_uses_an_existing_one() {
    let bed = TestBed::apache();
    let probe = bed.probe();
    let servers = format!("{}/fleet/a", bed.connect_string());
    assert_eq!(probe.exists("/fleet"), None);
    for name in ["one", "two"] {
        let connection = bed.wait(bed.session_to(&servers).connection());
        bed.wait(connection.create_ephemeral(&format!("/{name}"), name.as_bytes())).unwrap();
        bed.wait(connection.sync()).unwrap();
        assert_eq!(probe.text(&format!("/fleet/a/{name}")).as_deref(), Some(name));
        assert_eq!(probe.exists("/fleet/a").unwrap().ephemeral_owner, 0);
    }
}

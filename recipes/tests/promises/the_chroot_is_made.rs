use crate::support::Bed;

#[test]
fn when_it_is_missing_and_used_when_it_is_not() {
    let bed = Bed::start();
    let probe = bed.probe();
    let servers = format!("{}/fleet/a", bed.zookeeper.connect_string());
    assert_eq!(probe.exists("/fleet"), None);
    for name in ["one", "two"] {
        let connection = bed.wait(bed.session(&servers).connection());
        bed.wait(connection.create_ephemeral(&format!("/{name}"), name.as_bytes())).unwrap();
        bed.wait(connection.sync()).unwrap();
        assert_eq!(probe.text(&format!("/fleet/a/{name}")).as_deref(), Some(name));
        assert_eq!(probe.exists("/fleet/a").unwrap().ephemeral_owner, 0);
    }
}

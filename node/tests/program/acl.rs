//! ACLs on Apache ZooKeeper: the policy of a fleet, its migration while the fleet runs, and the checks of an open tree.
#![cfg(unix)]

use std::process::Output;

use atalaya_recipes::session::CreateMode;
use atalaya_recipes::{Acl, AclProvider, AuthId, Credentials, Permission, Session, SessionOptions};
use atalaya_testbed::{Process, Proxy, Scratch, ZooKeeper, eventually, parent_death_command};

use crate::common::outputs::{stderr, stdout};
use crate::common::secured::{ADMIN, FLEET, NEXT, POLICY, Secured, assert_reports_continue, password, stop};
use crate::common::{CALM, DEADLINE, TestEnv, bodies, wait_until};

/// Op codes of ZooKeeper's protocol.
const SET_ACL: i32 = 7;

#[track_caller]
fn assert_code(output: &Output, wanted: i32) {
    assert_eq!(output.status.code(), Some(wanted), "{}{}", stdout(output), stderr(output));
}

fn anyone() -> Vec<Acl> {
    vec![Acl::new(Permission::ALL, AuthId::anyone())]
}

#[test]
fn acl_apply_migrates_the_tree_of_a_running_fleet_and_back() {
    let fleet = Secured::start();
    fleet.create_open(&["/config/nodes"]);
    let mut nodes = [fleet.node("1", "open"), fleet.node("2", "open")];
    assert_reports_continue(&fleet.env, "of the open fleet");
    let restart = |nodes: &mut [Process; 2], policy: &str| {
        for (node, id) in nodes.iter_mut().zip(["1", "2"]) {
            stop(node);
            *node = fleet.node(id, policy);
        }
        assert_reports_continue(&fleet.env, "after the restart of the nodes");
    };
    restart(&mut nodes, "fleet");

    let shown = fleet.run(ADMIN, &["acl", "show", "--acl", "fleet"]);
    assert_code(&shown, 1);
    for path in ["/", "/mediciones", "/election", "/atalaya/term", "/config", "/config/nodes"] {
        let line = format!("different   {path}  world:anyone:cdrwa\n");
        assert!(stdout(&shown).contains(&line), "{path}: {}", stdout(&shown));
    }
    assert!(!stdout(&shown).contains("/mediciones/1"), "a znode of a restarted node has the new ACL");
    let tried = fleet.run(ADMIN, &["acl", "apply", "--acl", "fleet", "--dry-run"]);
    assert_code(&tried, 0);
    let line = "would set  /mediciones  sasl:admin:cdrwa,sasl:fleet:cdrw  (now world:anyone:cdrwa)\n";
    assert!(stdout(&tried).contains(line), "{}", stdout(&tried));
    assert_eq!(fleet.acl("/mediciones"), anyone(), "a dry run changes nothing");

    assert_code(&fleet.run(ADMIN, &["acl", "apply", "--acl", "fleet"]), 0);
    assert_code(&fleet.run(ADMIN, &["acl", "show", "--acl", "fleet"]), 0);
    assert_reports_continue(&fleet.env, "after acl apply");
    fleet.connected(None, async |stranger| {
        assert!(stranger.get("/mediciones/1").await.unwrap_err().is_no_auth());
        assert!(stranger.children("/").await.unwrap_err().is_no_auth());
        for path in ["/other", "/election/x", "/mediciones/3", "/config/api_url"] {
            let error = stranger.create(path, b"", CreateMode::Persistent).await.unwrap_err();
            assert!(error.is_no_auth(), "{error}");
        }
    });
    fleet.connected(Some(FLEET), async |node| {
        let error = node.create("/config/api_url", b"http://x/", CreateMode::Persistent).await.unwrap_err();
        assert!(error.is_no_auth(), "a node must not write the configuration: {error}");
    });
    for node in &nodes {
        let epochs = node.log().iter().filter(|line| line.text.contains(" leading epoch=")).count();
        assert!(epochs <= 1, "a node lost its leadership: {:?}", node.log());
    }

    restart(&mut nodes, "open");
    assert_code(&fleet.run(ADMIN, &["acl", "apply", "--acl", "open"]), 0);
    assert_reports_continue(&fleet.env, "after acl apply --acl open");
    assert_code(&fleet.run(ADMIN, &["acl", "show", "--acl", "open"]), 0);
    fleet.connected(None, async |stranger| stranger.set("/mediciones", b"", None).await.unwrap());
}

#[test]
fn acl_apply_continues_after_a_signal_and_after_a_lost_connection() {
    let fleet = Secured::start();
    let paths: Vec<String> = (0..300).map(|number| format!("/mediciones/{number}")).collect();
    fleet.create_open(&paths.iter().map(String::as_str).collect::<Vec<_>>());
    let proxy = Proxy::to(fleet.server.port());
    let apply = ["acl", "apply", "--acl", "fleet"];

    // The request for the chroot takes effect, and its answer is lost.
    proxy.mute(Some(SET_ACL));
    let mut stopped = Process::spawn(fleet.command_on(&proxy.connect_string(), ADMIN, &apply));
    wait_until("the new ACL of the chroot", || fleet.acl("/") != anyone());
    stopped.int();
    assert_eq!(stopped.wait_exit(DEADLINE).code(), Some(75));
    stopped.wait_for_line("stopped by SIGINT after 0 znodes", DEADLINE);
    stopped.wait_for_line("run the command again to continue", DEADLINE);
    assert_eq!(fleet.acl("/mediciones/299"), anyone());

    proxy.mute(None);
    proxy.cut_after_request(SET_ACL);
    let cut = fleet.command_on(&proxy.connect_string(), ADMIN, &apply).output().unwrap();
    assert_code(&cut, 75);
    assert!(stderr(&cut).contains("run the command again to continue"), "{}", stderr(&cut));

    let finished = fleet.run(ADMIN, &apply);
    assert_code(&finished, 0);
    assert_eq!(stdout(&finished), "300 of 302 ACLs were set\n", "the chroot and /mediciones were set before");
    assert_eq!(stdout(&fleet.run(ADMIN, &apply)), "0 of 302 ACLs were set\n");
}

#[test]
fn leader_warns_once_about_a_path_that_other_clients_can_write() {
    let fleet = Secured::start();
    fleet.create_open(&["/mediciones", "/election"]);
    let proxy = Proxy::to(fleet.server.port());
    let env = TestEnv::of(proxy.connect_string(), CALM);
    let node = fleet.node_in(&env, "1", FLEET, &[&["--acl", "read-world"], &POLICY[..]].concat());
    node.wait_for_line(" leading epoch=", DEADLINE);
    let warnings = |path: &str| {
        let field = format!("path=\"{path}\" ");
        let log = node.log();
        let of_path = |text: &str| text.contains("atalaya acl apply") && text.contains(&field);
        log.iter().filter(|line| of_path(&line.text)).map(|line| line.text.clone()).collect::<Vec<_>>()
    };
    for path in ["/", "/mediciones", "/election"] {
        let found = eventually(&format!("a warning about {path}"), DEADLINE, || warnings(path).pop());
        assert!(found.contains("identity=world:anyone") && found.contains("permissions=ALL"), "{found}");
    }
    proxy.cut();
    node.wait_for_line("leading again", DEADLINE);
    assert_reports_continue(&env, "after the reconnect");
    for path in ["/", "/mediciones", "/election"] {
        assert_eq!(warnings(path).len(), 1, "{path}");
    }
    assert_eq!(
        warnings("/atalaya"),
        Vec::<String>::new(),
        "the node has created it with the ACL of the policy"
    );

    let checked = fleet.run(ADMIN, &["check", "--connect", "--acl", "read-world"]);
    assert_code(&checked, 1);
    assert!(
        stdout(&checked).contains("different   /mediciones  world:anyone:cdrwa\n"),
        "{}",
        stdout(&checked)
    );
    let checked = fleet.run(ADMIN, &["check", "--acl", "read-world"]);
    assert_code(&checked, 0);
    assert!(!stdout(&checked).contains("different"), "without --connect, it does not connect");
}

#[test]
fn acl_apply_refuses_to_lock_out_its_own_client_and_names_znodes_of_others() {
    let fleet = Secured::start();
    fleet.create_open(&["/mediciones/1", "/config"]);
    let refused = fleet.run(FLEET, &["acl", "apply", "--acl", "fleet"]);
    assert_code(&refused, 77);
    for part in ["this client (sasl:fleet)", "connect as sasl:admin", "acl_admin"] {
        assert!(stderr(&refused).contains(part), "{part}: {}", stderr(&refused));
    }
    assert_eq!(fleet.acl("/"), anyone());

    let mallory = Acl::new(Permission::ALL, AuthId::new("digest", "mallory:TUfNZWz3g3L1ka6tyYpfXItX8Jw="));
    let reader = Acl::new(Permission::READ, AuthId::anyone());
    fleet.connected(None, async |connection| {
        connection.set_acl("/mediciones/1", &[mallory, reader], None).await.unwrap();
    });
    let refused = fleet.run(ADMIN, &["acl", "apply", "--acl", "fleet"]);
    assert_code(&refused, 77);
    let problem = "1 of 4 ACLs could not be set; the first: /mediciones/1: this client lacks the ADMIN permission, \
                   which digest:mallory has";
    assert!(stderr(&refused).contains(problem), "{}", stderr(&refused));
    assert_code(&fleet.run(ADMIN, &["acl", "show", "--acl", "fleet"]), 1);

    let shown = fleet.run(FLEET, &["acl", "show", "--acl", "fleet", "--output", "json"]);
    assert_code(&shown, 1);
    let lines: Vec<serde_json::Value> =
        stdout(&shown).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 3);
    assert_eq!(lines[0]["path"], "/mediciones/1");
    assert_eq!(
        lines[0]["acl"], "digest:mallory:x:cdrwa,world:anyone:r",
        "hashes are hidden from this client"
    );
    assert_eq!((&lines[1]["class"], &lines[1]["correct"]), (&"state".into(), &2.into()));
    assert_eq!((&lines[2]["class"], &lines[2]["correct"]), (&"configuration".into(), &1.into()));

    let mut anonymous = parent_death_command(env!("CARGO_BIN_EXE_atalaya"));
    anonymous.args(["acl", "show", "--acl", "fleet", "--zookeeper", &fleet.env.hosts]).args(POLICY);
    let shown = anonymous.current_dir(fleet.scratch.path()).output().unwrap();
    assert_code(&shown, 77);
    assert!(stdout(&shown).contains("unreadable  /mediciones\n"), "{}", stdout(&shown));
}

#[test]
fn acl_apply_with_digest_identities_names_a_scheme_that_the_servers_do_not_know() {
    let server = ZooKeeper::start();
    let scratch = Scratch::new("acl");
    let file = scratch.write("password", "admin-secret");
    let run = |words: &[&str]| {
        let mut command = parent_death_command(env!("CARGO_BIN_EXE_atalaya"));
        command.args(["acl"]).args(words).args(["--zookeeper", &server.connect_string()]);
        command.args(["--zookeeper-auth", "digest", "--zookeeper-user", ADMIN, "--zookeeper-password-file"]);
        command.arg(&file).current_dir(scratch.path()).output().unwrap()
    };
    let refused = run(&["apply", "--acl", "fleet", "--acl-fleet", "sasl:fleet", "--acl-admin", "sasl:fleet"]);
    assert_code(&refused, 77);
    assert!(stderr(&refused).contains("this client (digest:admin)"), "{}", stderr(&refused));
    let own = "digest:admin:a6v9bDs6OoZr04/JO8wCjCHWzMs=";
    let unknown = run(&["apply", "--acl", "fleet", "--acl-fleet", "sasl:fleet", "--acl-admin", own]);
    assert_code(&unknown, 78);
    assert!(stderr(&unknown).contains("authProvider"), "{}", stderr(&unknown));
    // Without other identities, the own one is that of the fleet, and has all permissions.
    assert_code(&run(&["apply", "--acl", "fleet"]), 0);
    assert_code(&run(&["show", "--acl", "fleet"]), 0);
}

#[test]
fn acl_apply_succeeds_while_znodes_are_created_and_deleted() {
    let fleet = Secured::start();
    let paths: Vec<String> = (0..2_000).map(|number| format!("/mediciones/{number}")).collect();
    fleet.create_open(&paths.iter().map(String::as_str).collect::<Vec<_>>());
    let all = Acl::new(Permission::ALL, AuthId::new("sasl", ADMIN));
    let rest = Permission::CREATE | Permission::DELETE | Permission::READ | Permission::WRITE;
    let policy = [all, Acl::new(rest, AuthId::new("sasl", FLEET))];
    let options = SessionOptions::new(fleet.env.hosts.parse().unwrap(), CALM.session)
        .with_sasl(Credentials::new(FLEET, password(FLEET)))
        .with_acl(AclProvider::fixed(&policy));
    // A node of the fleet that creates znodes with the new ACL, and deletes its own and old ones.
    let churn = fleet.runtime.spawn(async move {
        let session = Session::start(options);
        let connection = session.connection().await;
        for number in (0..2_000).rev() {
            connection.create_ephemeral(&format!("/mediciones/new-{number}"), b"").await.unwrap();
            connection.delete(&format!("/mediciones/{number}"), None).await.unwrap();
        }
        session
    });
    let first = fleet.run(ADMIN, &["acl", "apply", "--acl", "fleet"]);
    assert_code(&first, 0);
    let session = fleet.runtime.block_on(churn).unwrap();
    let shown = fleet.run(ADMIN, &["acl", "show", "--acl", "fleet"]);
    assert_code(&shown, 0);
    assert!(
        stdout(&shown).contains("state             2002          0           0  sasl:admin"),
        "{}",
        stdout(&shown)
    );
    fleet.runtime.block_on(session.close(DEADLINE));
}

#[test]
fn fleet_changes_its_user_without_losing_a_report() {
    let fleet = Secured::start();
    let flags = |acl_fleet| {
        ["--acl", "fleet", "--acl-fleet", acl_fleet, "--acl-admin", "sasl:admin", "--api-method", "post"]
    };
    let node = |id, user, acl_fleet| fleet.node_in(&fleet.env, id, user, &flags(acl_fleet));
    let apply = |acl_fleet| {
        let words = ["acl", "apply", "--acl", "fleet", "--acl-fleet", acl_fleet, "--acl-admin", "sasl:admin"];
        assert_code(&fleet.tool(&fleet.env.hosts, ADMIN, &words).output().unwrap(), 0);
    };
    let mut nodes = [node("1", FLEET, "sasl:fleet"), node("2", FLEET, "sasl:fleet")];
    apply("sasl:fleet");
    for (user, acl_fleet) in
        [(FLEET, "sasl:fleet,sasl:next"), (NEXT, "sasl:fleet,sasl:next"), (NEXT, "sasl:next")]
    {
        for (running, id) in nodes.iter_mut().zip(["1", "2"]) {
            stop(running);
            *running = node(id, user, acl_fleet);
        }
        assert_reports_continue(&fleet.env, &format!("of user {user} with the identities {acl_fleet}"));
        apply(acl_fleet);
    }
    assert_reports_continue(&fleet.env, "at the end");
    fleet.connected(Some(FLEET), async |old| {
        assert!(old.get("/mediciones/1").await.unwrap_err().is_no_auth())
    });
    let mut cycles: Vec<u64> =
        bodies(&fleet.env.api.requests()).iter().filter_map(|body| body["cycle"].as_u64()).collect();
    cycles.sort_unstable();
    cycles.dedup();
    let expected: Vec<u64> = (cycles[0]..).take(cycles.len()).collect();
    assert_eq!(cycles, expected, "every cycle is reported");
}

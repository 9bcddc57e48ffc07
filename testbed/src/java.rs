//! Java programs: the jars, and the command line of an Apache ZooKeeper server, a JVM that starts quickly and stays
//! small.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::scratch::testbed_dir;
use crate::spawn::parent_death_command;

/// Folder of the jars of Debian's packages.
const DEBIAN: &str = "/usr/share/java";

/// Configuration that logs everything to standard output, which the process keeps.
const LOGGING: &str = "\
log4j.rootLogger=INFO, CONSOLE
log4j.appender.CONSOLE=org.apache.log4j.ConsoleAppender
log4j.appender.CONSOLE.layout=org.apache.log4j.PatternLayout
log4j.appender.CONSOLE.layout.ConversionPattern=%d{ABSOLUTE} %-5p %c{1} %m%n
";

/// Jars of Netty, which ZooKeeper needs for TLS.
const NETTY: [&str; 7] = [
    "netty-buffer.jar",
    "netty-codec.jar",
    "netty-common.jar",
    "netty-handler.jar",
    "netty-resolver.jar",
    "netty-transport.jar",
    "netty-transport-native-unix-common.jar",
];

/// Returns true if ZooKeeper can use Netty. An Apache archive contains it.
pub(crate) fn has_netty() -> bool {
    std::env::var_os("ZOOKEEPER_HOME").is_some()
        || NETTY.iter().all(|name| Path::new(DEBIAN).join(name).exists())
}

/// Returns the class path of a ZooKeeper that logs, or `None` if ZooKeeper is not installed.
///
/// `ZOOKEEPER_HOME` has precedence: the folder of an Apache archive (`lib/`) or of Homebrew (`libexec/lib/`).
pub(crate) fn classpath() -> Option<String> {
    let home = std::env::var_os("ZOOKEEPER_HOME").map(PathBuf::from);
    let archive =
        home.iter().flat_map(|home| [home.join("lib"), home.join("libexec/lib")]).find(|lib| has_jar(lib));
    if let Some(lib) = archive {
        return Some(format!("{}/*", lib.display()));
    }
    let debian = Path::new(DEBIAN);
    let jar = |name: &str| Some(debian.join(name)).filter(|jar| jar.exists());
    let zookeeper = jar("zookeeper.jar")?;
    // The manifest of zookeeper.jar lists its dependencies, except the logging library and half of Netty.
    let logging = ["slf4j-log4j12.jar", "log4j-1.2.jar"];
    let jars = logging.into_iter().chain(NETTY).filter_map(jar).chain([zookeeper]);
    Some(jars.map(|jar| jar.display().to_string()).collect::<Vec<_>>().join(":"))
}

/// Returns the class path of Curator's recipes, whose log is discarded; `None` if they are not installed.
/// `CURATOR_HOME` has precedence: a folder with its jars and their dependencies.
pub(crate) fn curator_classpath() -> Option<String> {
    if let Some(home) = std::env::var_os("CURATOR_HOME").map(PathBuf::from) {
        return Some(format!("{}/*", home.display()));
    }
    // The manifests list the dependencies.
    let jar = Path::new(DEBIAN).join("curator-recipes.jar");
    jar.exists().then(|| jar.display().to_string())
}

/// Removes JVM options from the environment: those of a test may print to our streams, or change the program.
pub(crate) fn own_options(command: &mut Command) {
    command.env_remove("JAVA_TOOL_OPTIONS").env_remove("JDK_JAVA_OPTIONS").env_remove("_JAVA_OPTIONS");
}

fn has_jar(lib: &Path) -> bool {
    let named = |entry: fs::DirEntry| entry.file_name().to_string_lossy().starts_with("zookeeper-");
    fs::read_dir(lib).into_iter().flatten().flatten().any(named)
}

/// File with the names and passwords of the users that may authenticate by SASL, beside `zoo.cfg`.
pub(crate) const SASL_USERS: &str = "jaas.conf";

/// Returns the file with the classes of a server, which the JVM need not load and verify again ("class data sharing").
/// [`ZooKeeper::archive_classes`](crate::ZooKeeper::archive_classes) writes it.
pub(crate) fn class_archive() -> PathBuf {
    testbed_dir().join("zookeeper.jsa")
}

/// Returns the command of a server that reads `folder/zoo.cfg`. It is killed when this process dies, if the system
/// supports that.
pub(crate) fn server(folder: &Path) -> Command {
    let logging = folder.join("log4j.properties");
    fs::write(&logging, LOGGING).expect("write the logging configuration of ZooKeeper");
    let mut command = parent_death_command("java");
    own_options(&mut command);
    command
        .current_dir(folder)
        .args(["-Xmx192m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:-UsePerfData", "-Xshare:auto"])
        .args(["-Djava.awt.headless=true", "-Djava.net.preferIPv4Stack=true"])
        .args(["-Dzookeeper.jmx.log4j.disable=true", "-Djava.security.egd=file:/dev/./urandom"])
        .arg(format!("-Dlog4j.configuration=file:{}", logging.display()));
    let archive = class_archive();
    if archive.exists() {
        // If it is for another JVM or class path, the JVM logs that, and starts without it.
        command.arg(format!("-XX:SharedArchiveFile={}", archive.display()));
    }
    let users = folder.join(SASL_USERS);
    if users.exists() {
        command.arg(format!("-Djava.security.auth.login.config={}", users.display()));
    }
    command
        .args(["-cp", &classpath().expect("ZooKeeper was looked for before")])
        .arg("org.apache.zookeeper.server.quorum.QuorumPeerMain")
        .arg(folder.join("zoo.cfg"));
    command
}

#!/bin/bash
# Replaces the entry point of the image zookeeper:3.9, with the same variables and folders.
set -e
if [ "$(id -u)" = 0 ]; then
    chown -R zookeeper: /data /datalog
    exec setpriv --reuid=zookeeper --regid=zookeeper --init-groups "$0" "$@"
fi
if [ ! -f /conf/zoo.cfg ]; then
    {
        echo "dataDir=/data"
        echo "dataLogDir=/datalog"
        echo "tickTime=${ZOO_TICK_TIME:-2000}"
        echo "initLimit=${ZOO_INIT_LIMIT:-5}"
        echo "syncLimit=${ZOO_SYNC_LIMIT:-2}"
        echo "standaloneEnabled=${ZOO_STANDALONE_ENABLED:-true}"
        echo "admin.enableServer=${ZOO_ADMINSERVER_ENABLED:-true}"
        [ -z "$ZOO_4LW_COMMANDS_WHITELIST" ] || echo "4lw.commands.whitelist=$ZOO_4LW_COMMANDS_WHITELIST"
        for line in ${ZOO_SERVERS:-server.1=localhost:2888:3888;2181} $ZOO_CFG_EXTRA; do echo "$line"; done
    } > /conf/zoo.cfg
fi
[ -f /data/myid ] || echo "${ZOO_MY_ID:-1}" > /data/myid
jars=/usr/share/java
path=/conf:$jars/slf4j-log4j12.jar:$jars/log4j-1.2.jar
# Parts of Netty that TLS needs.
for part in buffer codec common handler resolver transport transport-native-unix-common; do
    path=$path:$jars/netty-$part.jar
done
# SERVER_JVMFLAGS is not quoted, because it contains several options.
exec java -Xmx"${ZK_SERVER_HEAP:-1000}"m -XX:TieredStopAtLevel=1 -XX:+UseSerialGC $SERVER_JVMFLAGS \
    -cp "$path:$jars/zookeeper.jar" \
    org.apache.zookeeper.server.quorum.QuorumPeerMain /conf/zoo.cfg

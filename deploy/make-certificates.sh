#!/bin/sh
# Creates the certificates, the user names and the passwords of a secured ZooKeeper and its fleet:
#
#   sh deploy/make-certificates.sh                            for compose.yml, in deploy/secrets
#   sh deploy/make-certificates.sh FOLDER zk1.example.org …   for the servers of these names
#
# Files that exist are never overwritten: a second run adds only missing files. To renew a certificate or a password,
# delete its file, and the keystore or jaas.conf that contains it, and run the script again. See docs/security.md.
#
# As root, the script gives the files to the users of the containers: 1000 (ZooKeeper) and 65532 (Atalaya). Otherwise the
# files are readable for all users, in a folder that only its owner can enter.
set -eu
umask 077

folder=${1:-$(dirname "$0")/secrets}
[ $# -eq 0 ] || shift
[ $# -gt 0 ] || set -- zoo1 zoo2 zoo3
# Validity in days. ZooKeeper and nodes can replace a certificate. To replace the CA, all certificates must be replaced.
ca_days=3650
days=398

mkdir -p "$folder"
chmod 700 "$folder"
cd "$folder"

key() { # FILE: a private key, as PKCS #8, which ZooKeeper requires
    openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$1"
}

certificate() { # NAME USAGE [SUBJECT_ALT_NAME]: NAME.key and NAME.pem
    [ ! -e "$1.pem" ] || return 0
    key "$1.key"
    {
        echo "basicConstraints = critical,CA:FALSE"
        echo "keyUsage = critical,digitalSignature"
        echo "extendedKeyUsage = $2"
        [ -z "${3:-}" ] || echo "subjectAltName = $3"
    } > "$1.ext"
    openssl req -new -key "$1.key" -subj "/CN=$1" -out "$1.csr"
    openssl x509 -req -in "$1.csr" -CA ca.pem -CAkey ca.key -CAcreateserial -days "$days" -sha256 \
        -extfile "$1.ext" -out "$1.new" 2>/dev/null
    rm "$1.csr" "$1.ext"
    mv "$1.new" "$1.pem"
    echo "created $1.pem"
}

if [ ! -e ca.pem ]; then
    key ca.key
    openssl req -x509 -new -key ca.key -days "$ca_days" -sha256 -subj "/CN=Atalaya ZooKeeper CA" \
        -addext "basicConstraints=critical,CA:TRUE,pathlen:0" -addext "keyUsage=critical,keyCertSign,cRLSign" -out ca.new
    mv ca.new ca.pem
    echo "created ca.pem"
fi

# A server proves its name to clients, and is a client of the other servers.
for server; do
    case $server in
        *[!0-9.]*) names="DNS:$server" ;;
        *) names="IP:$server" ;;
    esac
    certificate "$server" serverAuth,clientAuth "$names"
    # The key store of ZooKeeper: certificate and key in one file.
    [ -e "$server-keystore.pem" ] || cat "$server.pem" "$server.key" > "$server-keystore.pem"
done
certificate node clientAuth
certificate admin clientAuth

# Two accounts for nodes, so that a password can be changed while the fleet runs, and one for administrators.
for user in fleet-a fleet-b admin; do
    [ -e "$user.password" ] || openssl rand -hex 24 > "$user.password"
done
[ -e jaas.conf ] || cat > jaas.conf << END
Server {
    org.apache.zookeeper.server.auth.DigestLoginModule required
    user_fleet-a="$(cat fleet-a.password)"
    user_fleet-b="$(cat fleet-b.password)"
    user_admin="$(cat admin.password)";
};
END

if [ "$(id -u)" = 0 ]; then
    for server; do chown 1000:1000 "$server-keystore.pem"; done
    chown 1000:1000 jaas.conf
    chown 65532:65532 node.pem node.key admin.pem admin.key ./*.password
    # ca.key signs new certificates: keep it in a place that neither servers nor nodes can read.
    chmod 600 ./*
    chmod 644 ca.pem
else
    chmod 644 ./*
    chmod 600 ca.key
fi
echo "the files are in $(pwd)"

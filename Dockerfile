# The program alone, without a system below it: a node, the collector, the demo. docs/containers.md tells how it is used.
#
#   docker build --tag atalaya .
#   docker run atalaya 1                        node 1
#   docker run atalaya collect                  the REST API
#   docker run -it atalaya demo
#
# Compiled here, it takes some minutes, half of them for the licences of the crates in the program. A program that was
# linked statically before is taken as it is, with the file of licences beside it:
#
#   cargo xtask dist --static
#   docker build --tag atalaya --build-arg PROGRAM=target/dist/atalaya-x86_64-static .
#
# Nothing in here needs BuildKit: docker-compose 1.29 builds it as well.
ARG BUILDER=rust:1.95-bookworm
ARG BASE=scratch
FROM ${BUILDER} AS build
ARG PROGRAM=
WORKDIR /source
COPY . .
# With --target, what runs during the build is linked as usual, and only the program statically. Its paths are the same
# in every build, and so is what it says of the time: the same sources make the same files.
RUN set -eu; \
    mkdir -p /image/usr/bin /image/usr/share/doc/atalaya /image/etc/atalaya /image/etc/ssl/certs /state/var/lib/atalaya; \
    if [ -z "$PROGRAM" ]; then \
        triple=$(rustc -vV | sed -n 's/^host: //p'); \
        RUSTFLAGS='-C target-feature=+crt-static' cargo build --profile distribution --locked --package atalaya --target "$triple"; \
        PROGRAM="target/$triple/distribution/atalaya"; \
        cargo install --locked --features cli --version =0.9.3 cargo-about; \
        cargo about generate --fail --manifest-path node/Cargo.toml deploy/notices.hbs --output-file "$PROGRAM.notices"; \
    fi; \
    if [ -e "$PROGRAM.notices" ]; then cp "$PROGRAM.notices" /image/usr/share/doc/atalaya/notices; fi; \
    cp "$PROGRAM" /image/usr/bin/atalaya; \
    chmod 755 /image/usr/bin/atalaya; \
    cp /etc/ssl/certs/ca-certificates.crt /image/etc/ssl/certs/; \
    /image/usr/bin/atalaya --version; \
    find /image /state -exec touch --no-dereference --date=@0 {} +

FROM ${BASE}
# Also what makes /tmp unnecessary: nothing is written but below /var/lib/atalaya.
COPY --from=build /image/ /
COPY --from=build --chown=65532:65532 /state/ /
LABEL org.opencontainers.image.title="Atalaya" \
      org.opencontainers.image.description="Sensor firmware host: measures, publishes in ZooKeeper, averages the fleet" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.licenses="MIT OR Apache-2.0"
ENV PATH=/usr/bin \
    ATALAYA_STATE_DIR=/var/lib/atalaya \
    ATALAYA_METRICS_LISTEN=0.0.0.0:9100 \
    ATALAYA_LISTEN=0.0.0.0:8000 \
    ATALAYA_STORE=sqlite:/var/lib/atalaya/reports.db
# A boards.toml is looked for here; without one, a node measures one random quantity.
WORKDIR /etc/atalaya
USER 65532:65532
EXPOSE 8000 9100
# A node tells how it is at 9100, the collector at 8000: the one that listens decides.
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s \
    CMD ["/usr/bin/atalaya", "health", "http://127.0.0.1:9100/healthz", "http://127.0.0.1:8000/healthz"]
ENTRYPOINT ["/usr/bin/atalaya"]

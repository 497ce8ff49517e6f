# The image of nats-exporter: one static program and the authorities that it trusts. No shell, nothing to write to.
#
#   docker buildx build --platform linux/amd64,linux/arm64 \
#       --build-arg VERSION=0.1.0 --build-arg REVISION="$(git rev-parse HEAD)" \
#       --build-arg CREATED="$(git log -1 --format=%cI)" -t nats-exporter .
#
# Where few files may be open at once, docker needs  --ulimit nofile=65536:65536  as well: see tools/build-release.
#
# The compiler runs on the machine that builds, and makes a program for the one that is asked for: nothing is emulated.

# A Debian with a stable Rust and rustup.
ARG BUILDER=docker.io/library/rust:1.95-bookworm

FROM --platform=$BUILDPLATFORM ${BUILDER} AS tools
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates gcc libc6-dev make python3-venv \
    && rm -rf /var/lib/apt/lists/*
COPY tools/zig-requirements.txt /tmp/
RUN python3 -m venv /opt/zig && /opt/zig/bin/pip install --no-cache-dir -r /tmp/zig-requirements.txt
ENV PATH=/opt/zig/bin:$PATH
ARG TARGETARCH
RUN case "$TARGETARCH" in \
        amd64) echo x86_64-unknown-linux-musl ;; \
        arm64) echo aarch64-unknown-linux-musl ;; \
        *) echo "there is no image for $TARGETARCH" >&2; exit 1 ;; \
    esac >/target \
    && rustup target add "$(cat /target)"

# The dependencies are a layer of their own, which only their list changes. They are built for programs that are empty,
# but named like the real ones.
FROM tools AS dependencies
WORKDIR /build
COPY Cargo.toml Cargo.lock ./
COPY harness/Cargo.toml harness/
COPY .cargo/config.toml .cargo/
COPY tools/build-release tools/
RUN mkdir -p src harness/src benches tests \
    && touch src/lib.rs harness/src/lib.rs benches/detail.rs tests/it.rs \
    && echo 'fn main() {}' | tee src/main.rs build.rs >/dev/null \
    && tools/build-release "$(cat /target)"

FROM dependencies AS program
COPY build.rs ./
COPY src src
ARG REVISION=unknown
# The empty programs are newer than the real ones, so cargo has to be told.
RUN find build.rs src -name '*.rs' -exec touch {} + \
    && BUILD_REVISION="$REVISION" tools/build-release "$(cat /target)" \
    && install -D "target/$(cat /target)/release/nats-exporter" /image/usr/bin/nats-exporter \
    && install -D -m 644 /etc/ssl/certs/ca-certificates.crt /image/etc/ssl/certs/ca-certificates.crt

FROM scratch
COPY --from=program /image /
# Of nobody else, and a number, so that Kubernetes can see that it is not root.
USER 65532:65532
EXPOSE 7777
# No shell: the program asks itself. It is ready whatever the NATS servers do. The format of OCI has no health checks, so
# buildah and podman keep this only with --format docker.
HEALTHCHECK --interval=15s --timeout=5s --start-period=10s CMD ["/usr/bin/nats-exporter", "healthcheck"]
ENTRYPOINT ["/usr/bin/nats-exporter"]
ARG VERSION=unknown
ARG REVISION=unknown
ARG CREATED=unknown
LABEL org.opencontainers.image.title="nats-exporter" \
    org.opencontainers.image.description="Prometheus exporter for NATS that keeps core messaging and JetStream apart" \
    org.opencontainers.image.url="https://github.com/nats-exporter/nats-exporter" \
    org.opencontainers.image.source="https://github.com/nats-exporter/nats-exporter" \
    org.opencontainers.image.documentation="https://github.com/nats-exporter/nats-exporter#readme" \
    org.opencontainers.image.licenses="Apache-2.0" \
    org.opencontainers.image.version="$VERSION" \
    org.opencontainers.image.revision="$REVISION" \
    org.opencontainers.image.created="$CREATED"

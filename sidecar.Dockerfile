# docker build -f sidecar.Dockerfile -t token-sidecar .
#
# Where a registry cannot be reached, name other images:
#   --build-arg BUILDER=…   Rust on Debian 12, with its C compiler
#   --build-arg RUNTIME=…   glibc 2.36 or later and CA certificates; nothing else is needed, not even a shell
#   --build-arg DEBIAN=…    Debian 12, for the image with a browser
ARG BUILDER=rust:1-slim-bookworm
ARG RUNTIME=gcr.io/distroless/cc-debian12:nonroot
ARG DEBIAN=debian:bookworm-slim

FROM ${BUILDER} AS sources
WORKDIR /build
COPY Cargo.toml Cargo.lock ./
COPY bench/Cargo.toml bench/
COPY clients/rust/Cargo.toml clients/rust/
COPY fuzz/Cargo.toml fuzz/
COPY simulator/Cargo.toml simulator/
# Nothing but the dependencies: built anew only where the manifests change.
RUN mkdir src bench/src clients/rust/src fuzz/src simulator/src \
    && echo 'fn main() {}' | tee src/main.rs bench/src/main.rs fuzz/src/main.rs > simulator/src/main.rs \
    && touch src/lib.rs clients/rust/src/lib.rs simulator/src/lib.rs

FROM sources AS sidecar-build
RUN cargo build --release --locked -p token-sidecar
COPY clients/rust/src clients/rust/src
COPY src src
# Cargo goes by times, and the sources are older than what was built in their place.
RUN touch src/main.rs src/lib.rs clients/rust/src/lib.rs && cargo build --release --locked -p token-sidecar

FROM sources AS simulator-build
RUN cargo build --release --locked -p token-sidecar-simulator
COPY simulator/recorded simulator/recorded
COPY simulator/src simulator/src
RUN touch simulator/src/main.rs simulator/src/lib.rs && cargo build --release --locked -p token-sidecar-simulator

# The rehearsal world: docker build --target simulator …
FROM ${RUNTIME} AS simulator
LABEL org.opencontainers.image.title="token-sidecar-simulator" \
    org.opencontainers.image.description="A rehearsal world for token-sidecar: a FlareSolverr look-alike, a shop page and an API" \
    org.opencontainers.image.licenses="MIT"
COPY --from=simulator-build /build/target/release/token-sidecar-simulator /usr/local/bin/token-sidecar-simulator
ENV SIMULATOR_LISTEN=0.0.0.0:8191
EXPOSE 8191
USER 65532:65532
ENTRYPOINT ["/usr/local/bin/token-sidecar-simulator"]

# The sidecar with a browser of its own: docker build --target sidecar-browser …
#
# The browser's sandbox needs user namespaces, which a container's default seccomp profile forbids: run the image with
# `--security-opt seccomp=compose/browser-seccomp.json`, or set BROWSER_SANDBOX=false. /tmp must be writable.
FROM ${DEBIAN} AS sidecar-browser
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates chromium tini \
    && rm -rf /var/lib/apt/lists/*
LABEL org.opencontainers.image.title="token-sidecar-browser" \
    org.opencontainers.image.description="token-sidecar with Debian's Chromium for the source `browser`" \
    org.opencontainers.image.licenses="MIT"
COPY --from=sidecar-build /build/target/release/token-sidecar /usr/local/bin/token-sidecar
ENV SIDECAR_LISTEN=0.0.0.0:9188 SIDECAR_SOURCES=browser
EXPOSE 9188
USER 65532:65532
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s --retries=3 \
    CMD ["/usr/local/bin/token-sidecar", "healthcheck"]
# Processes of the browser that outlive it become children of PID 1, which must reap them.
ENTRYPOINT ["/usr/bin/tini", "--", "/usr/local/bin/token-sidecar"]
CMD ["run"]

# The last stage is what `docker build` builds without --target.
FROM ${RUNTIME} AS sidecar
LABEL org.opencontainers.image.title="token-sidecar" \
    org.opencontainers.image.description="Keeps a shop's API token fresh in Redis: one refresh at a time, however many ask" \
    org.opencontainers.image.licenses="MIT"
COPY --from=sidecar-build /build/target/release/token-sidecar /usr/local/bin/token-sidecar
# Inside the container everywhere; what is reachable from outside is for `docker run -p` to say.
ENV SIDECAR_LISTEN=0.0.0.0:9188
EXPOSE 9188
USER 65532:65532
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s --retries=3 \
    CMD ["/usr/local/bin/token-sidecar", "healthcheck"]
ENTRYPOINT ["/usr/local/bin/token-sidecar"]
CMD ["run"]

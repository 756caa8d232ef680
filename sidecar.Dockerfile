# docker build -f sidecar.Dockerfile -t token-sidecar .
#
# Where a registry cannot be reached, name other images:
#   --build-arg BUILDER=…   Rust on Debian 13, with its C compiler
#   --build-arg RUNTIME=…   glibc 2.41 or later and CA certificates; nothing else is needed, not even a shell
#   --build-arg DEBIAN=…    Debian 13, for the browser
ARG BUILDER=rust:1.95-slim-trixie
ARG RUNTIME=gcr.io/distroless/cc-debian13:nonroot
ARG DEBIAN=debian:13-slim
# For the labels; `make docker-image` sets the last three.
ARG VERSION=0.1.0
ARG REVISION=
ARG SOURCE=
ARG CREATED=

# Nothing but the dependencies: built anew only where the manifests change.
FROM ${BUILDER} AS dependencies
WORKDIR /build
COPY Cargo.toml Cargo.lock ./
COPY bench/Cargo.toml bench/
COPY clients/rust/Cargo.toml clients/rust/
COPY fuzz/Cargo.toml fuzz/
COPY simulator/Cargo.toml simulator/
RUN mkdir src bench/src clients/rust/src fuzz/src simulator/src \
    && echo 'fn main() {}' > src/main.rs \
    && cp src/main.rs bench/src/ && cp src/main.rs fuzz/src/ && cp src/main.rs simulator/src/ \
    && touch src/lib.rs clients/rust/src/lib.rs simulator/src/lib.rs \
    && cargo build --release --locked -p token-sidecar

FROM dependencies AS sidecar-build
ARG REVISION
COPY clients/rust/src clients/rust/src
COPY src src
# Cargo goes by times, and the sources are older than what was built in their place.
RUN touch src/main.rs src/lib.rs clients/rust/src/lib.rs \
    && TOKEN_SIDECAR_COMMIT="${REVISION}" cargo build --release --locked -p token-sidecar \
    && mkdir /shared

FROM dependencies AS simulator-build
COPY simulator/recorded simulator/recorded
COPY simulator/src simulator/src
RUN touch simulator/src/main.rs simulator/src/lib.rs && cargo build --release --locked -p token-sidecar-simulator

# FlareSolverr, the shop's page and its API, simulated: docker build --target simulator …
FROM ${RUNTIME} AS simulator
ARG VERSION REVISION SOURCE CREATED
LABEL org.opencontainers.image.title="token-sidecar-simulator" \
    org.opencontainers.image.description="Simulates FlareSolverr, a shop's page and its API, for token-sidecar and its parsers" \
    org.opencontainers.image.licenses="MIT" \
    org.opencontainers.image.version="${VERSION}" \
    org.opencontainers.image.revision="${REVISION}" \
    org.opencontainers.image.source="${SOURCE}" \
    org.opencontainers.image.created="${CREATED}"
COPY --from=simulator-build /build/target/release/token-sidecar-simulator /usr/local/bin/token-sidecar-simulator
ENV SIMULATOR_LISTEN=0.0.0.0:8191
EXPOSE 8191
USER 65532:65532
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s --retries=3 \
    CMD ["/usr/local/bin/token-sidecar-simulator", "healthcheck"]
ENTRYPOINT ["/usr/local/bin/token-sidecar-simulator"]

# The sidecar and Debian's Chromium, for the source `browser`: docker build --target sidecar-browser …
#
# The browser's sandbox needs user namespaces, which a container's default seccomp profile forbids: run the image with
# `--security-opt seccomp=compose/browser-seccomp.json`, or set BROWSER_SANDBOX=false. /tmp must be writable.
#
# With the entry point `browser` it is the browser alone, for the BROWSER_URL of a sidecar elsewhere.
FROM ${DEBIAN} AS sidecar-browser
# Not pinned: Debian keeps the newest version of a package alone.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates chromium socat tini \
    && rm -rf /var/lib/apt/lists/*
ARG VERSION REVISION SOURCE CREATED
LABEL org.opencontainers.image.title="token-sidecar-browser" \
    org.opencontainers.image.description="token-sidecar with Debian's Chromium, which its source `browser` starts" \
    org.opencontainers.image.licenses="MIT" \
    org.opencontainers.image.version="${VERSION}" \
    org.opencontainers.image.revision="${REVISION}" \
    org.opencontainers.image.source="${SOURCE}" \
    org.opencontainers.image.created="${CREATED}"
COPY compose/browser/policy.json /etc/chromium/policies/managed/token-sidecar.json
COPY compose/browser/start /usr/local/bin/browser
COPY --from=sidecar-build /build/target/release/token-sidecar /usr/local/bin/token-sidecar
COPY --from=sidecar-build --chown=65532:65532 /shared /shared
ENV SIDECAR_LISTEN=0.0.0.0:9188 SIDECAR_SOURCES=browser
EXPOSE 9188 9222
USER 65532:65532
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s --retries=3 \
    CMD ["/usr/local/bin/token-sidecar", "healthcheck"]
# Processes of the browser that outlive it become children of PID 1, which must reap them.
ENTRYPOINT ["/usr/bin/tini", "--", "/usr/local/bin/token-sidecar"]
CMD ["run"]

# The last stage is what `docker build` builds without --target.
FROM ${RUNTIME} AS sidecar
ARG VERSION REVISION SOURCE CREATED
LABEL org.opencontainers.image.title="token-sidecar" \
    org.opencontainers.image.description="Keeps a shop's API token fresh in Redis: one refresh at a time, however many ask" \
    org.opencontainers.image.licenses="MIT" \
    org.opencontainers.image.version="${VERSION}" \
    org.opencontainers.image.revision="${REVISION}" \
    org.opencontainers.image.source="${SOURCE}" \
    org.opencontainers.image.created="${CREATED}"
COPY --from=sidecar-build /build/target/release/token-sidecar /usr/local/bin/token-sidecar
# A new volume that is mounted here belongs to the sidecar, as this folder does.
COPY --from=sidecar-build --chown=65532:65532 /shared /shared
# Inside the container everywhere; what is reachable from outside is for `docker run -p` to say.
ENV SIDECAR_LISTEN=0.0.0.0:9188
EXPOSE 9188
USER 65532:65532
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s --retries=3 \
    CMD ["/usr/local/bin/token-sidecar", "healthcheck"]
ENTRYPOINT ["/usr/local/bin/token-sidecar"]
CMD ["run"]

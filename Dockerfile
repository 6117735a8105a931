# bookwire as an image: one program, a user without rights, state in /var/lib/bookwire.
#   docker build -t bookwire .
# Exchanges of ccxt need Python with the library, which is not in it.

FROM rust:1.95.0-slim-bookworm AS build
WORKDIR /src
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --release --locked --package bookwire-api --bin bookwire \
    && install -D --mode=0755 target/release/bookwire /out/bookwire

FROM debian:bookworm-slim
# Certificates of the authorities that exchanges are proven with. The group has the number that USER names:
# left to `useradd --system` it has another, and the process is in a group that owns nothing.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/* \
    && groupadd --gid 10001 bookwire \
    && useradd --uid 10001 --gid 10001 --no-create-home --shell /usr/sbin/nologin bookwire \
    && install -d --owner=bookwire --group=bookwire --mode=0700 /var/lib/bookwire
COPY --from=build /out/bookwire /usr/local/bin/bookwire
COPY --chmod=0755 config/docker/probe /usr/local/bin/probe
USER 10001:10001
WORKDIR /var/lib/bookwire
VOLUME /var/lib/bookwire
# Inside a container loopback is nobody else's. Publish the port on 127.0.0.1 unless you mean the world.
ENV BOOKWIRE_SERVER__LISTEN=0.0.0.0:8080 \
    BOOKWIRE_SERVER__DATA_DIR=/var/lib/bookwire \
    BOOKWIRE_LOG__FORMAT=json
EXPOSE 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
    CMD ["/usr/local/bin/probe", "8080", "/readyz"]
ENTRYPOINT ["/usr/local/bin/bookwire"]
CMD ["serve"]

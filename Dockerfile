# The server and its models; `docs/deploy.md` says how to run it.
# Any image with Python 3.11 or later, its venv and pip will do as base; pin it by digest where that matters.
ARG BASE=docker.io/library/python:3.13-slim

FROM ${BASE} AS build
WORKDIR /build
# The base's own pip fills the environment, which so needs none. Wheels only: nothing is compiled.
COPY requirements/server.txt .
RUN python3 -m venv --without-pip /opt/venv && \
    python3 -m pip --python /opt/venv/bin/python install --no-cache-dir --disable-pip-version-check \
        --only-binary :all: --require-hashes -r server.txt
COPY music music
COPY server server
COPY proto/fantasia fantasia
COPY models models
# The root of a running container is read-only: compile now. Readable by any user, whatever the checkout's umask.
RUN python3 -m compileall -q --invalidation-mode unchecked-hash music server fantasia && chmod -R a+rX .

FROM ${BASE}
# ONNX Runtime's Linux wheels report to Microsoft unless they are told not to.
ENV PATH=/opt/venv/bin:$PATH \
    ORT_DISABLE_TELEMETRY=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONFAULTHANDLER=1 \
    PYTHONUNBUFFERED=1 \
    FANTASIA_HOST=0.0.0.0
WORKDIR /app
COPY --from=build /opt/venv /opt/venv
COPY --from=build /build/models models
COPY --from=build /build/fantasia fantasia
COPY --from=build /build/music music
COPY --from=build /build/server server
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="fantasia" \
      org.opencontainers.image.description="Writes music over gRPC" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
# Numbers, so that Kubernetes can tell that it is not root.
USER 10001:10001
EXPOSE 50051 9464
ENTRYPOINT ["python", "-m", "server"]

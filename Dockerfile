# The server and its models. docs/deploy.md describes how to run it.
# BASE can be any image with Python 3.11 or later, venv and pip. Pin it by digest for reproducible builds.
ARG BASE=docker.io/library/python:3.13-slim

FROM ${BASE} AS build
WORKDIR /build
# The pip of the base image installs into the environment. Wheels only: nothing is compiled.
COPY requirements/server.txt .
RUN python3 -m venv --without-pip /opt/venv && \
    python3 -m pip --python /opt/venv/bin/python install --no-cache-dir --disable-pip-version-check \
        --only-binary :all: --require-hashes -r server.txt
COPY music music
COPY runtime runtime
COPY server server
COPY proto/fantasia fantasia
COPY models models
# The file system of the container is read-only, so compile now. Any user can read the files.
RUN python3 -m compileall -q --invalidation-mode unchecked-hash music runtime server fantasia && chmod -R a+rX .

FROM ${BASE}
# By default, ONNX Runtime sends telemetry to Microsoft.
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
COPY --from=build /build/runtime runtime
COPY --from=build /build/server server
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="fantasia" \
      org.opencontainers.image.description="Generates symbolic music over gRPC" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
# Numeric, so that Kubernetes can verify that it is not root.
USER 10001:10001
EXPOSE 50051 9464
ENTRYPOINT ["python", "-m", "server"]

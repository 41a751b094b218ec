# The server and its models, as two images: the target `cpu`, which is the default, and the target `gpu`.
# docs/deploy.md describes how to build and run them.
#
# BASE has Python 3.11 or later with venv and pip. RUNTIME_BASE has the same Python at the same path, and needs neither
# venv nor pip. Both can be pinned by digest.
ARG BASE=docker.io/library/python:3.13-slim
ARG RUNTIME_BASE=${BASE}

FROM ${BASE} AS build
WORKDIR /build
ENV PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_ONLY_BINARY=:all: \
    PIP_REQUIRE_HASHES=1
RUN python3 -m venv --without-pip /opt/venv && python3 -m venv --without-pip /opt/sbom
COPY requirements/sbom.txt .
RUN python3 -m pip --python /opt/sbom/bin/python install -r sbom.txt
COPY deploy/image/prune.sh deploy/image/sbom.py ./

# The packages of each target. The pip of the base installs them, so the environment has none.
FROM build AS packages-cpu
COPY requirements/server.txt .
RUN python3 -m pip --python /opt/venv/bin/python install -r server.txt && ./prune.sh /opt/venv

FROM build AS packages-gpu
COPY requirements/server-gpu.txt .
RUN python3 -m pip --python /opt/venv/bin/python install -r server-gpu.txt && ./prune.sh /opt/venv

FROM ${BASE} AS app
WORKDIR /app
COPY music music
COPY runtime runtime
COPY server server
COPY proto/fantasia fantasia
COPY models models
# The file system of the container is read-only, so compile now. Any user can read the files.
RUN python3 -m compileall -q --invalidation-mode unchecked-hash music runtime server fantasia && chmod -R a+rX .

FROM ${RUNTIME_BASE} AS runtime
# By default, ONNX Runtime sends telemetry to Microsoft.
ENV PATH=/opt/venv/bin:$PATH \
    ORT_DISABLE_TELEMETRY=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONFAULTHANDLER=1 \
    PYTHONUNBUFFERED=1 \
    FANTASIA_HOST=0.0.0.0
WORKDIR /app
# Numeric, so that Kubernetes can verify that it is not root. Any other user works too.
USER 10001:10001
EXPOSE 50051 9464
ENTRYPOINT ["python", "-m", "server"]

# The bill of materials of each target: Python packages, packages of the base, models.
FROM packages-gpu AS sbom-gpu
COPY --from=runtime /var/lib/dpkg /dpkg
COPY --from=app /app/models models
ARG VERSION=0.1.0
RUN /opt/sbom/bin/python sbom.py /opt/venv/bin/python /dpkg models "${VERSION}" > /build/sbom.cdx.json

FROM packages-cpu AS sbom-cpu
COPY --from=runtime /var/lib/dpkg /dpkg
COPY --from=app /app/models models
ARG VERSION=0.1.0
RUN /opt/sbom/bin/python sbom.py /opt/venv/bin/python /dpkg models "${VERSION}" > /build/sbom.cdx.json

# deploy/image/build.sh adds the labels of revision and models. With --layers, buildah would not see that a build argument
# of theirs has changed.
FROM runtime AS gpu
COPY --from=packages-gpu /opt/venv /opt/venv
COPY --from=sbom-gpu /build/sbom.cdx.json /usr/share/sbom/fantasia.cdx.json
COPY --from=app /app /app
ENV FANTASIA_PROVIDER=cuda
ARG VERSION=0.1.0
LABEL org.opencontainers.image.title="fantasia" \
      org.opencontainers.image.description="Generates symbolic music over gRPC, on CUDA" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.version="${VERSION}"

# The last stage is the default target.
FROM runtime AS cpu
COPY --from=packages-cpu /opt/venv /opt/venv
COPY --from=sbom-cpu /build/sbom.cdx.json /usr/share/sbom/fantasia.cdx.json
COPY --from=app /app /app
ARG VERSION=0.1.0
LABEL org.opencontainers.image.title="fantasia" \
      org.opencontainers.image.description="Generates symbolic music over gRPC" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.version="${VERSION}"

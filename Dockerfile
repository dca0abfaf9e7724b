# One image for all services; docker-compose.yml says which of them a container runs.
ARG PYTHON=python:3.11.14-slim-trixie

FROM ${PYTHON} AS build
WORKDIR /src
RUN python -m venv /opt/featurestore
# Dependencies first: the layer is built again only when the lock file changes. Wheels only: nothing unlocked helps to build.
COPY requirements-server.lock ./
RUN /opt/featurestore/bin/pip install --no-cache-dir --disable-pip-version-check --only-binary=:all: --require-hashes -r requirements-server.lock
COPY pyproject.toml README.md LICENSE ./
COPY featurestore featurestore
COPY services services
COPY gateway gateway
RUN /opt/featurestore/bin/pip install --no-cache-dir --disable-pip-version-check --no-deps --no-build-isolation . \
 && /opt/featurestore/bin/python -m compileall -q /opt/featurestore/lib

FROM ${PYTHON}
# git+ssh:// addresses of ETLs need an ssh client; git itself is dulwich.
RUN apt-get update \
 && apt-get install --yes --no-install-recommends openssh-client \
 && rm -rf /var/lib/apt/lists/*
# A user of its own that owns its state and nothing else. A named volume that is mounted on one of these folders for the
# first time takes over the folder's owner and mode, so the service may write it.
RUN groupadd --gid 10001 featurestore \
 && useradd --uid 10001 --gid featurestore --home-dir /var/lib/featurestore --no-create-home --shell /usr/sbin/nologin featurestore \
 && install --directory --owner=featurestore --group=featurestore --mode=0750 \
      /var/lib/featurestore /var/lib/featurestore/realtime /var/lib/featurestore/extraction /var/lib/featurestore/gateway \
      /var/lib/featurestore/secrets
COPY --from=build /opt/featurestore /opt/featurestore
ENV PATH=/opt/featurestore/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
USER 10001:10001
WORKDIR /var/lib/featurestore
ENTRYPOINT ["featurestore"]
CMD ["serve"]

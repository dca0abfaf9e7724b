# One image for all services; docker-compose.yml says which of them a container runs.
FROM python:3.11-slim AS build
WORKDIR /src
RUN python -m venv /opt/featurestore
COPY requirements-server.lock ./
RUN /opt/featurestore/bin/pip install --no-cache-dir --require-hashes -r requirements-server.lock
COPY pyproject.toml README.md LICENSE ./
COPY featurestore featurestore
COPY services services
COPY gateway gateway
RUN /opt/featurestore/bin/pip install --no-cache-dir --no-deps --no-build-isolation .

FROM python:3.11-slim
# Owns nothing but its state, and runs as nobody else.
RUN groupadd --gid 10001 featurestore && useradd --uid 10001 --gid featurestore --no-create-home featurestore \
 && install -d -o featurestore -g featurestore -m 0750 /var/lib/featurestore /run/secrets-made
COPY --from=build /opt/featurestore /opt/featurestore
ENV PATH=/opt/featurestore/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
USER featurestore
WORKDIR /var/lib/featurestore
ENTRYPOINT ["featurestore"]
CMD ["serve"]

# Two images of one build: `service` (api, worker, score-api, migrate) and `extraction`, which needs Dask and Arrow too.
# `make image` builds and pushes both for arm64, on which the tasks run.

# Python 3.13.15 on Debian 13, by digest: the same base until somebody moves it on purpose.
FROM python:3.13-slim-trixie@sha256:9d2e5553305c7c7b0097999bb17187c69b921ccd6bc9d40e4bb5ebe652c00285 AS base
# Amazon's certificate authorities for RDS and DocumentDB: the DSNs name this file (infra_pulumi/containers.py).
ADD --chmod=444 https://truststore.pki.rds.amazonaws.com/global/global-bundle.pem /usr/local/share/aws/global-bundle.pem

FROM base AS build
RUN python -m venv /opt/consumidor
ENV PATH=/opt/consumidor/bin:$PATH
WORKDIR /source
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY consumidor consumidor
RUN pip install --no-cache-dir --constraint constraints.txt .

FROM build AS build-extraction
RUN pip install --no-cache-dir --constraint constraints.txt '.[extraction]'

FROM base AS runtime
ENV PATH=/opt/consumidor/bin:$PATH HOME=/tmp PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
RUN useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin consumidor
# ECS mounts a volume here and takes owner and mode from the image; all else of the disk is read-only there.
VOLUME /tmp
USER 10001:10001
CMD ["consumidor", "--help"]

FROM runtime AS extraction
COPY --from=build-extraction /opt/consumidor /opt/consumidor

FROM runtime AS service
COPY --from=build /opt/consumidor /opt/consumidor

# Two stages: the first has git and builds the wheel, the second has only what runs. The user is not root.
#   docker build --tag custody-pipeline .
FROM python:3.13-slim AS build
# hadolint ignore=DL3008
RUN apt-get update && apt-get install --yes --no-install-recommends git && rm -rf /var/lib/apt/lists/*
WORKDIR /source
COPY . .
RUN python -m venv /opt/custody \
    && /opt/custody/bin/pip install --no-cache-dir --constraint constraints.txt '.[cluster]' \
    && /opt/custody/bin/python -m compileall -q /opt/custody

FROM python:3.13-slim
# A new volume on /data starts as a copy of this folder, with its owner.
RUN useradd --system --uid 10001 --create-home --home-dir /data custody && install -d -o custody /data/dagster
COPY --from=build /opt/custody /opt/custody
COPY --chown=custody dagster.yaml /data/dagster/
ENV PATH=/opt/custody/bin:$PATH \
    CUSTODY_HOME=/data \
    DAGSTER_HOME=/data/dagster \
    DO_NOT_TRACK=1 \
    PYTHONUNBUFFERED=1
USER 10001
WORKDIR /data
VOLUME /data
EXPOSE 3000
# The webserver answers; the daemon's container replaces this check in compose.yaml.
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:3000/server_info', timeout=4)"]
CMD ["dagster-webserver", "--host", "0.0.0.0", "--port", "3000", "--module-name", "custody_pipeline.definitions"]

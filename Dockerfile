# A policy server: guidedflow serve, of runs or exports that are mounted at /policies.
#
#     docker build -t guidedflow .
#     docker run --rm -p 127.0.0.1:8000:8000 -v "$PWD/runs:/policies:ro" -v "$PWD/token.txt:/run/token:ro" guidedflow /policies/gfp

FROM python:3.12-slim AS build
WORKDIR /source
COPY pyproject.toml constraints.txt README.md LICENSE CITATION.cff ./
COPY src ./src
RUN python -m venv /opt/guidedflow \
 && /opt/guidedflow/bin/pip install --no-cache-dir --constraint constraints.txt '.[serve]'

FROM python:3.12-slim
RUN useradd --create-home --uid 10001 policy
COPY --from=build /opt/guidedflow /opt/guidedflow
ENV PATH=/opt/guidedflow/bin:$PATH PYTHONUNBUFFERED=1 MUJOCO_GL=off
USER policy
WORKDIR /home/policy
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=120s --retries=3 \
  CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/readyz', timeout=2)"]
# Within a container the server listens on all addresses, for which it needs a token.
ENTRYPOINT ["guidedflow", "serve", "--host", "0.0.0.0", "--token-file", "/run/token"]
CMD ["/policies"]

# Targets: router, extension, demo.   docker build --target router -t lambda-dispatch-router .

FROM python:3.12-slim-bookworm AS build
RUN apt-get update && apt-get install -y --no-install-recommends gcc libc6-dev && rm -rf /var/lib/apt/lists/*
WORKDIR /source
COPY . .
RUN pip install --no-cache-dir --prefix=/installed .

FROM python:3.12-slim-bookworm AS router
COPY --from=build /installed /usr/local
RUN useradd --system --no-create-home router
USER router
EXPOSE 5001 5002 5003 5004
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=5s CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:5001/health', timeout=2)"]
ENTRYPOINT ["lambda-dispatch", "router"]

# What an application's image on python:3.12-slim-bookworm copies:  COPY --from=lambda-dispatch-extension / /
FROM scratch AS extension
COPY --from=build /installed /usr/local

FROM python:3.12-slim-bookworm AS demo
COPY --from=build /installed /usr/local
COPY examples/demo /demo
ENTRYPOINT ["lambda-dispatch", "extension", "--", "python", "/demo/app.py"]

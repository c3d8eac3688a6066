# Targets: router, extension, demo.   docker build --target router -t lambda-dispatch-router .

FROM python:3.12-slim-bookworm AS build
RUN apt-get update && apt-get install -y --no-install-recommends gcc libc6-dev && rm -rf /var/lib/apt/lists/*
WORKDIR /source
COPY . .
RUN pip install --no-cache-dir --prefix=/installed .

# The extension with a Python, libc and loader of its own: what any image can carry.
FROM python:3.12-slim-bookworm AS bundle
RUN apt-get update && apt-get install -y --no-install-recommends gcc libc6-dev binutils musl-tools && rm -rf /var/lib/apt/lists/*
WORKDIR /source
COPY . .
RUN ./run bundle && mv dist/bundle-* /bundle

FROM python:3.12-slim-bookworm AS router
COPY --from=build /installed /usr/local
COPY --from=bundle /bundle/opt/lambda-dispatch/lambda-dispatch /usr/local/bin/lambda-dispatch-health
RUN useradd --system --no-create-home router
USER router
EXPOSE 5001 5002 5003 5004
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=5s CMD ["lambda-dispatch-health", "healthcheck", "http://127.0.0.1:5001/health"]
ENTRYPOINT ["lambda-dispatch", "router"]

# What any application's image copies, whatever it is made of:  COPY --from=lambda-dispatch-extension / /
FROM scratch AS extension
COPY --from=bundle /bundle /

FROM python:3.12-slim-bookworm AS demo
COPY --from=build /installed /usr/local
COPY examples/demo /demo
ENTRYPOINT ["lambda-dispatch", "extension", "--", "python", "/demo/app.py"]

# Targets: router, extension, demo, demo-node, local.   docker build --target router -t lambda-dispatch-router .
#
# router and extension are FROM scratch and hold what ./run router-root and ./run bundle write: no shell, no package
# manager, no distribution. tests/deploy starts a router out of the same root, read-only and as the same user.

FROM python:3.13-slim-bookworm AS build
# hadolint ignore=DL3008
RUN apt-get update \
 && apt-get install -y --no-install-recommends binutils ca-certificates gcc libc6-dev musl-tools \
 && rm -rf /var/lib/apt/lists/*
WORKDIR /source
COPY . .
RUN ./run router-root && mv dist/router-* /router
RUN ./run bundle && mv dist/bundle-* /bundle

FROM scratch AS router
ARG GIT_HASH=""
ARG BUILD_TIME=""
COPY --from=build /router /
ENV PATH=/bin GIT_HASH=$GIT_HASH BUILD_TIME=$BUILD_TIME
USER 65532:65532
EXPOSE 5001 5002 5003 5004
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=5s --timeout=3s --start-period=15s CMD ["/bin/lambda-dispatch", "healthcheck", "http://127.0.0.1:5001/health"]
ENTRYPOINT ["/bin/lambda-dispatch"]
CMD ["router"]

# What any application's image copies, whatever it is made of:  COPY --from=lambda-dispatch-extension / /
FROM scratch AS extension
COPY --from=build /bundle /

# An application of each kind, as a function's image. Lambda starts the extension itself, from /opt/extensions.
FROM python:3.13-slim-bookworm AS demo
COPY --from=build /bundle /
COPY examples/demo /demo
USER 65532:65532
CMD ["python", "/demo/app.py"]

FROM node:22-bookworm-slim AS demo-node
COPY --from=build /bundle /
COPY deploy/cloudformation/application/server.mjs /application/server.mjs
USER 65532:65532
CMD ["node", "/application/server.mjs"]

# The demo application with an embedded Lambda around it, for deploy/compose.yaml.
FROM demo AS local
COPY --from=build /router/opt/lambda-dispatch /embedded
EXPOSE 5051
ENTRYPOINT ["/embedded/lambda-dispatch", "lambda", "--host", "0.0.0.0", "--function-name", "app"]
CMD ["--extensions-dir", "/opt/extensions", "--", "python", "/demo/app.py"]

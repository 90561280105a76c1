# One recipe, two images. The last stage, `kofn`, has everything: master, workers, command line.
# `worker` is the same without what only the others import; they share the layer of its packages.
#
#   docker build -t kofn .                              # kofn:latest
#   docker build -t kofn-worker --target worker .       # kofn-worker:latest
#   docker build -t kofn:cuda --build-arg TORCH=cuda .
#
#   docker run kofn python -m worker                    # listens on 0.0.0.0:9000
#   docker run kofn python -m master --workers ...      # on 0.0.0.0:8001, metrics on 8002
#
# TORCH        cpu or cuda: which build of torch must come out of the installation
# TORCH_INDEX  address of a further package index, where the default one has the other build
# BASE         any Debian image with Python 3.11 or newer, its venv and pip
ARG BASE=python:3.11-slim-bookworm

FROM ${BASE} AS packages
ARG TORCH=cpu
ARG TORCH_INDEX=
WORKDIR /build
RUN case "${TORCH}" in cpu|cuda) ;; *) echo "TORCH must be cpu or cuda, not '${TORCH}'." >&2; exit 1 ;; esac \
 && python -m venv --without-pip /opt/kofn
# torch alone first: the wrong build is refused before the gigabytes that it depends on are fetched.
COPY requirements/worker.txt deploy/check_torch.py ./
RUN grep '^torch' worker.txt > torch.txt \
 && pip --python /opt/kofn/bin/python install --no-cache-dir --no-deps \
      ${TORCH_INDEX:+--extra-index-url ${TORCH_INDEX}} -r torch.txt \
 && /opt/kofn/bin/python check_torch.py ${TORCH}
# What only compilers and test suites read goes: a worker runs exported graphs.
RUN pip --python /opt/kofn/bin/python install --no-cache-dir \
      ${TORCH_INDEX:+--extra-index-url ${TORCH_INDEX}} -r worker.txt \
 && cd /opt/kofn/lib/python3*/site-packages \
 && rm -rf torch/include torch/share torch/test torch/bin/*test* torch/bin/protoc* torch/lib/*.a \
 && find scipy numpy sympy networkx -type d -name tests -prune -exec rm -rf {} +
# Traces: some megabytes, off until a variable asks for them. What pyproject.toml calls `trace`.
COPY pyproject.toml ./
RUN python -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["project"]["optional-dependencies"]["trace"], sep="\n")' > trace.txt \
 && pip --python /opt/kofn/bin/python install --no-cache-dir -r trace.txt

# The project itself, whole and as a worker's share of it.
FROM ${BASE} AS source
RUN pip install --no-cache-dir 'setuptools>=77'
COPY . /build
RUN pip install --no-cache-dir --no-deps --no-build-isolation --target /app /build \
 && sed -i '1s|.*|#!/opt/kofn/bin/python|' /app/bin/kofn \
 && mkdir -p /worker/kofn /worker/models \
 && cp -r /app/worker /app/kofn-*.dist-info /worker \
 && cp -r /app/kofn/*.py /app/kofn/wire /worker/kofn \
 && cp /app/models/*.py /worker/models \
 && python -m compileall -q /worker

# What both images begin with: a user without a password, home, shell or further rights, who owns
# nothing but two folders; and a worker's packages.
FROM ${BASE} AS runtime
RUN groupadd --system --gid 10001 kofn \
 && useradd --system --uid 10001 --gid kofn --no-create-home --home-dir /var/lib/kofn --shell /usr/sbin/nologin kofn \
 && install -d -o kofn -g kofn /var/lib/kofn /var/lib/kofn/programs /var/lib/kofn/models \
      /var/lib/kofn/tls/master /var/lib/kofn/tls/client /var/lib/kofn/tls/worker /var/lib/kofn/tls/workers
COPY --from=packages /opt/kofn /opt/kofn
# Services listen to the container's network; what is published of it is the launcher's choice.
ENV PATH=/opt/kofn/bin:/app/bin:$PATH \
    PYTHONPATH=/app \
    PYTHONUNBUFFERED=1 \
    KOFN_MASTER_HOST=0.0.0.0 \
    KOFN_WORKER_HOST=0.0.0.0 \
    KOFN_WORKER_CACHE=/var/lib/kofn/programs \
    KOFN_STORE=/var/lib/kofn/models
WORKDIR /var/lib/kofn

FROM runtime AS worker
COPY --from=source /worker /app
USER kofn
EXPOSE 9000
CMD ["python", "-m", "worker"]

FROM runtime AS kofn
COPY requirements/rest.txt /tmp/rest.txt
RUN pip --python /opt/kofn/bin/python install --no-cache-dir -r /tmp/rest.txt && rm /tmp/rest.txt
COPY --from=source /app /app
USER kofn
EXPOSE 8001 8002 9000
CMD ["kofn", "--help"]

# docker build --target cpu -t arasfsr .         docker build --target cuda -t arasfsr:cuda .
# docker run --rm -v "$PWD:/work" -u "$(id -u):$(id -g)" arasfsr upscale face.png --scale 4       (cuda: --gpus all)
ARG PYTHON=3.12
ARG CUDA=13.0.1
ARG UBUNTU=24.04
ARG TORCH=2.13.0

# the wheel without the extension
FROM python:${PYTHON}-slim AS wheel-cpu
WORKDIR /source
COPY . .
RUN ARASFSR_CUDA=0 pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .

FROM python:${PYTHON}-slim AS cpu
ARG TORCH
RUN pip install --no-cache-dir --index-url https://download.pytorch.org/whl/cpu "torch==${TORCH}"
RUN --mount=type=bind,from=wheel-cpu,source=/wheels,target=/wheels pip install --no-cache-dir /wheels/*.whl \
    && useradd --create-home --uid 1001 arasfsr
USER 1001
WORKDIR /work
ENTRYPOINT ["arasfsr"]
CMD ["--help"]

# the wheel with the extension, which needs nvcc but no GPU
FROM nvidia/cuda:${CUDA}-devel-ubuntu${UBUNTU} AS wheel-cuda
# hadolint ignore=DL3008
RUN apt-get update && apt-get install --yes --no-install-recommends python3-dev python3-venv \
    && rm -rf /var/lib/apt/lists/* && python3 -m venv /opt/venv
WORKDIR /source
COPY . .
RUN ARASFSR_CUDA=1 /opt/venv/bin/pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .

# torch brings CUDA's libraries, and the extension links its runtime statically: the base image is enough
FROM nvidia/cuda:${CUDA}-base-ubuntu${UBUNTU} AS cuda
ARG TORCH
# hadolint ignore=DL3008
RUN apt-get update && apt-get install --yes --no-install-recommends python3-venv \
    && rm -rf /var/lib/apt/lists/* && python3 -m venv /opt/venv \
    && /opt/venv/bin/pip install --no-cache-dir "torch==${TORCH}"
RUN --mount=type=bind,from=wheel-cuda,source=/wheels,target=/wheels \
    /opt/venv/bin/pip install --no-cache-dir /wheels/*.whl && useradd --create-home --uid 1001 arasfsr
ENV PATH=/opt/venv/bin:$PATH
USER 1001
WORKDIR /work
ENTRYPOINT ["arasfsr"]
CMD ["--help"]

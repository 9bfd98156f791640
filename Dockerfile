# robustsnn on a CPU:  docker build -t robustsnn . && docker run --rm -v "$PWD/runs:/home/snn/runs" robustsnn demo
# For a GPU, build with --build-arg TORCH_INDEX=https://pypi.org/simple and run with --gpus all.
FROM python:3.12-slim
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
RUN pip install --no-cache-dir "torch>=2.11" --index-url "$TORCH_INDEX"
COPY . /src
RUN pip install --no-cache-dir /src && rm -r /src && useradd --create-home snn
USER snn
WORKDIR /home/snn
ENTRYPOINT ["robustsnn"]
CMD ["--help"]

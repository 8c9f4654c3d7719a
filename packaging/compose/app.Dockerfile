# examples/bucket with what it needs.
FROM python:3.13-slim
RUN pip install --no-cache-dir "flask==3.*" boto3 && install -d -o nobody /srv/data
COPY examples/bucket /srv/examples/bucket
COPY helpers/python /srv/helpers/python
USER nobody
WORKDIR /srv/data
EXPOSE 8000
CMD ["python", "/srv/examples/bucket/app.py"]

// The tus project's reference server over a bucket, as the documentation of its S3 store sets it up.
// Usage: node s3.js PORT ENDPOINT BUCKET ACCESS_KEY SECRET_KEY PART_BYTES
import { S3Store } from "@tus/s3-store";
import { Server } from "@tus/server";

const [port, endpoint, bucket, accessKeyId, secretAccessKey, partSize] = process.argv.slice(2);
const s3ClientConfig = { bucket, endpoint, region: "us-east-1", forcePathStyle: true, credentials: { accessKeyId, secretAccessKey } };
const server = new Server({ path: "/files", datastore: new S3Store({ partSize: Number(partSize), s3ClientConfig }) });
server.listen({ host: "127.0.0.1", port: Number(port) });

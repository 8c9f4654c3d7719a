import io.tus.java.client.ProtocolException;
import io.tus.java.client.TusClient;
import io.tus.java.client.TusExecutor;
import io.tus.java.client.TusURLMemoryStore;
import io.tus.java.client.TusUpload;
import io.tus.java.client.TusUploader;
import java.io.File;
import java.io.IOException;
import java.net.URL;
import java.util.Map;

/**
 * Sends a file with tus-java-client: `Client ENDPOINT FILE REQUEST_BYTES [STOP_AT]`. Stops when so many bytes are sent,
 * says so, and goes on after a line of its input. Prints the upload's URL, and how many requests for an offset failed.
 */
public class Client {
    public static void main(String[] args) throws Exception {
        TusClient client = new TusClient();
        client.setUploadCreationURL(new URL(args[0]));
        client.enableResuming(new TusURLMemoryStore());
        TusUpload upload = new TusUpload(new File(args[1]));
        upload.setMetadata(Map.of("filename", "film – ü.mp4", "filetype", "video/mp4"));
        int requestBytes = Integer.parseInt(args[2]);
        if (args.length > 3) {
            TusUploader uploader = begin(client, upload, requestBytes);
            while (uploader.getOffset() < Long.parseLong(args[3])) {
                uploader.uploadChunk();
            }
            uploader.finish(false);
            System.out.println("stopped at " + uploader.getOffset());
            System.in.read();
        }
        TusExecutor executor = new TusExecutor() {
            @Override
            protected void makeAttempt() throws ProtocolException, IOException {
                TusUploader uploader = begin(client, upload, requestBytes);
                System.out.println("from " + uploader.getOffset());
                while (uploader.uploadChunk() > -1) { }
                uploader.finish();
                System.out.println(uploader.getUploadURL());
            }
        };
        executor.makeAttempts();
    }

    private static TusUploader begin(TusClient client, TusUpload upload, int requestBytes)
            throws ProtocolException, IOException {
        TusUploader uploader = client.resumeOrCreateUpload(upload);
        uploader.setChunkSize(64 * 1024);
        uploader.setRequestPayloadSize(requestBytes);
        return uploader;
    }
}

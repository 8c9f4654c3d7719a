<?php
// A form that takes large files, in PHP without a framework: php -S localhost:8000 index.php. The page has no script of its own.
$uploads = getenv('UPLOADS') ?: 'http://localhost:4000'; // browsers go there
$backend = getenv('BACKEND') ?: 'http://localhost:4001'; // only this program does
$port = getenv('PORT') ?: '8000';
$data = getenv('DATA') ?: __DIR__ . '/data';
@mkdir("$data/issued", 0700, true);
if (!file_exists("$data/secret")) file_put_contents("$data/secret", 'whsec_' . base64_encode(random_bytes(32)), LOCK_EX); // kept: a handover may come after a restart
$secret = file_get_contents("$data/secret");
$path = parse_url($_SERVER['REQUEST_URI'], PHP_URL_PATH);
$post = $_SERVER['REQUEST_METHOD'] === 'POST';

/** What is known of a file whose ticket was issued to someone. */
function issued(string $data, string $id): ?array
{
    $file = "$data/issued/$id";
    return preg_match('/^[0-9a-f-]{36}$/', $id) && is_file($file) ? json_decode(file_get_contents($file), true) : null;
}

function keep(string $data, string $id, array $known): void
{
    file_put_contents("$data/issued/$id", json_encode($known), LOCK_EX);
}

/** Whether Incoming!! makes this call, now: a forged call could name any file. Standard Webhooks: docs/protocol.md, "Signature". */
function is_signed(string $secret): bool
{
    [$id, $at, $sent] = array_map(fn ($name) => $_SERVER["HTTP_WEBHOOK_$name"] ?? '', ['ID', 'TIMESTAMP', 'SIGNATURE']);
    $key = base64_decode(substr($secret, strlen('whsec_')));
    $right = 'v1,' . base64_encode(hash_hmac('sha256', "$id.$at." . file_get_contents('php://input'), $key, true));
    return abs(time() - (int) $at) < 300 && array_filter(explode(' ', $sent), fn ($one) => hash_equals($right, $one));
}

if ($post && $path === '/handover') {
    if (!is_signed($secret)) exit(http_response_code(401));
    $known = issued($data, $_POST['id']);
    if ($_POST['cancelled'] === 'no' && $known) {
        $mine = "$data/received/{$_POST['id']}/{$_POST['filenameFromBrowser']}"; // one harmless name
        @mkdir(dirname($mine), 0700, true);
        if (!file_exists($mine)) rename($_POST['filename'], $mine); // the same call may come twice; both lie on one disk
        exec('sync'); // "done" lets go of the only other copy
        keep($data, $_POST['id'], ['path' => $mine] + $known);
    }
    exit('done');
}

session_set_cookie_params(['httponly' => true, 'samesite' => 'Lax']);
session_start();
$user = $_SESSION['user'] ??= bin2hex(random_bytes(16)); // stands for a login
$token = $_SESSION['token'] ??= bin2hex(random_bytes(16));
session_write_close(); // the next request need not wait
if ($post && !hash_equals($token, $_SERVER['HTTP_X_CSRF_TOKEN'] ?? $_POST['_token'] ?? '')) exit(http_response_code(403));

if ($post && $path === '/ticket') {
    $asked = json_decode(file_get_contents('php://input'), true);
    $call = ['signalFinishURL' => "http://localhost:$port/handover", 'signingSecret' => $secret, 'length' => (int) $asked['size']];
    $options = ['http' => ['method' => 'POST', 'header' => 'Content-Type: application/x-www-form-urlencoded', 'content' => http_build_query($call)]];
    $id = @file_get_contents("$backend/incoming/backend/new_upload", false, stream_context_create($options));
    if ($id === false) exit(http_response_code(503));
    keep($data, $id, ['user' => $user, 'name' => (string) $asked['name'], 'size' => (int) $asked['size']]);
    header('Content-Type: application/json');
    exit(json_encode(['id' => $id]));
}

// An id in a form is a claim: it counts if it was issued to this user, has arrived and is in no letter yet.
$files = [];
foreach ($post ? (array) ($_POST['papers'] ?? []) : [] as $id) {
    $known = issued($data, (string) $id);
    if ($known && $known['user'] === $user && isset($known['path']) && !isset($known['letter'])) $files[$id] = $known;
}
$subject = (string) ($_POST['subject'] ?? '');
$policy = "default-src 'none'; script-src $uploads; connect-src 'self' $uploads; img-src data:; form-action 'self'; base-uri 'none'; require-trusted-types-for 'script'";
header("Content-Security-Policy: $policy");
header('Cache-Control: no-store');
$text = fn (string $text): string => htmlspecialchars($text);
if ($post && $subject !== '' && $files) {
    foreach ($files as $id => $known) keep($data, $id, ['letter' => $subject] + $known);
    exit('<!doctype html><title>Sent</title><link rel=icon href=data:,><p>Sent: ' . $text(implode(', ', array_column($files, 'name'))));
}
$value = array_map(fn ($id, $known) => ['id' => $id, 'name' => $known['name'], 'size' => $known['size']], array_keys($files), $files);
?>
<!doctype html><html lang="en"><meta charset="utf-8"><title>Send a letter</title><link rel="icon" href="data:,">
<script src="<?= $uploads ?>/incoming/frontend/incoming-ui.js" defer></script>
<h1>Send a letter</h1><p><?= $post ? ($files ? 'Say what it is about.' : 'Choose a file.') : '' ?></p>
<form method="post"><input type="hidden" name="_token" value="<?= $token ?>">
<label>Subject <input name="subject" value="<?= $text($subject) ?>"></label>
<p><label for="papers">Papers</label>
<incoming-upload id="papers" name="papers[]" ticket-url="/ticket" multiple required restore="letter" value="<?= $text(json_encode($value)) ?>"></incoming-upload></p>
<button>Send</button></form></html>

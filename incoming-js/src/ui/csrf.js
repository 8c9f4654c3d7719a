/**
 * The token against forged requests that the page's framework has put into it, as a header for its own origin.
 */

/** Hidden fields, and the header in which their framework looks for the token. */
const FIELDS = {
  csrfmiddlewaretoken: 'X-CSRFToken',
  authenticity_token: 'X-CSRF-Token',
  _token: 'X-CSRF-Token',
  __RequestVerificationToken: 'RequestVerificationToken',
};

/**
 * Rails and Laravel by `meta[name=csrf-token]`, Spring by `meta[name=_csrf]`, Django, Rails, Laravel and ASP.NET by a field of the form.
 * @param {Element} element
 * @param {HTMLFormElement | null} form
 * @param {string} url of the request: another origin gets nothing
 * @returns {Record<string, string>}
 */
export function csrf_headers(element, form, url) {
  if (new URL(url, document.baseURI).origin !== location.origin) return {};
  const meta = (/** @type {string} */ name) => /** @type {HTMLMetaElement | null} */ (document.querySelector(`meta[name="${name}"]`))?.content;
  const token = element.getAttribute('csrf-token') || meta('csrf-token') || meta('_csrf');
  if (token) return { [element.getAttribute('csrf-header') || meta('_csrf_header') || 'X-CSRF-Token']: token };
  for (const [name, header] of Object.entries(FIELDS)) {
    const field = form?.elements.namedItem(name);
    if (field instanceof HTMLInputElement && field.value) return { [header]: field.value };
  }
  return {};
}

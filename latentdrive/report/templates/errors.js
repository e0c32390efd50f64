// Script errors are stored where a test can read them: a missing chart must not look like missing data.
window.scriptErrors = [];
function noteError(text) {
  window.scriptErrors.push(text);
  document.documentElement.dataset.errors = window.scriptErrors.join(" | ");
}
document.documentElement.dataset.errors = "";
window.addEventListener("error", (event) => noteError(event.message));
window.addEventListener("unhandledrejection", (event) => noteError(String(event.reason)));

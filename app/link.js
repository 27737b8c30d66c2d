async () => {
  const button = document.querySelector("#copy-link");
  const made = document.querySelector("#caption [data-link]");
  const say = (text) => {
    button.textContent = text;
    setTimeout(() => (button.textContent = "Copy link"), 2000);
  };
  if (!made) return say("Nothing made yet");
  const link = location.origin + location.pathname + made.dataset.link;
  try {
    await navigator.clipboard.writeText(link);
    say("Link copied");
  } catch {
    prompt("Copy this link", link); // browsers keep the clipboard to pages that came over HTTPS or from this machine
  }
}

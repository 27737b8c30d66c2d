() => {
  const help = BUTTON_HELP; // element id -> sentence, from words.py
  const tell = () => {
    // Gradio labels its empty picture boxes without saying what they are; screen readers may then skip the label.
    document.querySelectorAll(".empty[aria-label]:not([role])").forEach((box) => box.setAttribute("role", "img"));
    for (const [id, sentence] of Object.entries(help)) {
      const button = document.getElementById(id);
      if (button && button.title !== sentence) button.title = sentence;
    }
  };
  // Where the results are below the controls, a run that has begun brings them into sight.
  let waiting = false;
  const follow = () => {
    const bar = document.querySelector("#runbar [role=status]");
    const begun = bar?.textContent.startsWith("Waiting for the model") ?? false;
    if (begun && !waiting && matchMedia("(max-width: 980px)").matches) bar.scrollIntoView({ behavior: "smooth" });
    waiting = begun;
  };
  tell();
  new MutationObserver(() => { tell(); follow(); }).observe(document.body, { childList: true, subtree: true });
}

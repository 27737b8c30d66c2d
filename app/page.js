() => {
  // Gradio labels its empty picture boxes without saying what they are; screen readers may then skip the label.
  const name = () =>
    document.querySelectorAll(".empty[aria-label]:not([role])").forEach((box) => box.setAttribute("role", "img"));
  name();
  new MutationObserver(name).observe(document.body, { childList: true, subtree: true });
}

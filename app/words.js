// A click on a word of the card "What the mini knows" adds it to the prompt. Runs once, when the card loads.
element.addEventListener("click", (event) => {
  const word = event.target.closest("button")?.innerText;
  const box = document.querySelector("#prompt textarea");
  if (!word || !box) return;
  document.querySelector('[data-tab-id="joint_generation"]')?.click();
  const text = box.value.trimEnd();
  const setter = Object.getOwnPropertyDescriptor(HTMLTextAreaElement.prototype, "value").set;
  setter.call(box, text ? `${text} ${word}` : word);
  box.dispatchEvent(new Event("input", { bubbles: true }));
});

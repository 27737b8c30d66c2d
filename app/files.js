// Closes the buttons that take a result's files home while those are not of what is shown: from a change on until files
// that were begun after it are there. `buttons` counts those of files; the last two make and give the animation.
(moment, buttons) => {
  const count = (window.studioFiles ??= { changed: 0, begun: 0 });
  if (moment === "changed") count.changed += 1;
  if (moment === "begun") count.begun = count.changed;
  const update = (part) => ({ __type__: "update", ...part });
  if (moment === "written") {
    const open = count.begun === count.changed ? { interactive: true } : {};
    return [...Array(buttons + 1).fill(update(open)), update({})];
  }
  const closed = update({ interactive: false });
  return [...Array(buttons).fill(closed), update({ interactive: false, visible: true }), update({ visible: false })];
}

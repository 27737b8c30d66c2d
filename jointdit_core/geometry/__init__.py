"""From a disparity map and its picture to points, meshes and files; numpy in, numpy out.

The conventions, stated here once:

- **disparity**: float32 (H, W) in [0, 1], relative inverse depth, near = 1, far and sky = 0.
- **depth**: float32 (H, W), distance along the optical axis, unit-free: the near plane (disparity 1) lies at depth 1
  and the far plane (disparity 0) at depth `far_over_near`. Between them 1 / depth runs linearly with disparity.
- **pixels**: `x` counts columns to the right and `y` rows downwards from the top left pixel (0, 0), whose centre is
  at (0.5, 0.5) in continuous image coordinates. The image spans (0, 0) to (width, height).
- **camera**: a pinhole without distortion, its principal point in the middle of the image and square pixels. `fov_deg`
  is the full angle across the *longer* side, in degrees.
- **points**: OpenCV axes: x right, y down, z forward (z = depth), the camera at the origin. `export` turns them into
  the axes of the file formats (x right, y up, z backward); nothing else flips an axis.
"""

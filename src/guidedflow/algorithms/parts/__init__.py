"""What several papers share: values, cloning, distillation, denoising, losses, and the ingredients of a critic."""

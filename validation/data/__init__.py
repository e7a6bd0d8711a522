"""Real images for the experiments: Fashion-MNIST and CIFAR-10 from the user's copies, scikit-learn's digits without any."""

from .image_set import Arrays, ImageSet
from .load import NAMES, default_images, load_images

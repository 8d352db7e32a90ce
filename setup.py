"""Package metadata. ``src/``, ``config/`` and ``protocols/`` travel inside the package, see epymarl_lmac/paths.py."""

import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent


def data_packages(folder: str, package: str) -> dict[str, str]:
    """Returns package name -> folder for a tree of data or source files that is not importable by its own name."""
    root = HERE / folder
    inner = sorted(p for p in [root, *root.rglob("*")] if p.is_dir() and p.name != "__pycache__")
    return {
        ".".join([package, *p.relative_to(root).parts]): p.relative_to(HERE).as_posix()
        for p in inner
        if any(f.is_file() for f in p.iterdir())
    }


def version() -> str:
    """Returns the version that the package states, without importing it."""
    found = re.search(r'^__version__ = "(.+)"$', (HERE / "epymarl_lmac" / "__init__.py").read_text(), re.MULTILINE)
    assert found is not None
    return found[1]


CARRIED = {
    **data_packages("src", "epymarl_lmac._src"),
    **data_packages("config", "epymarl_lmac._config"),
    **data_packages("protocols", "epymarl_lmac._protocols"),
}

setup(
    name="epymarl-lmac",
    version=version(),
    description="LMAC and communication baselines for cooperative multi-agent reinforcement learning",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.10,<3.14",
    packages=[*find_packages(include=["epymarl_lmac*", "protocol_gen*"]), *CARRIED],
    package_dir=CARRIED,
    package_data={
        "": ["*.yaml", "*.py", "*.json", "*.safetensors", "*.md", "*.txt"],
        "epymarl_lmac": ["py.typed"],
        "protocol_gen": ["prompts/*.md", "report.css", "py.typed"],
        "epymarl_lmac.compare": ["*.css", "*.js"],
    },
    install_requires=[
        "torch>=2.6,<3",
        "numpy>=1.26,<3",
        "llvmlite>=0.44",  # numba's own; tiles of products are written with it
        "numba>=0.61",
        "sacred>=0.8.7,<0.9",
        "setuptools<82",  # sacred 0.8.7 imports pkg_resources
        "pyyaml>=6",
        "rich>=13",
        "typer>=0.12",
        "safetensors>=0.4.5",
        "matplotlib>=3.8",
        "pillow>=10.1",
        "plotly>=5.20",
        "h5py>=3.10",
        "scipy>=1.11",
        "threadpoolctl>=3.5",
        "pymongo>=4.6",
        "psutil>=5.9",
    ],
    extras_require={
        "designer": ["openai>=1.60"],
        "cluster": ["ray[client]>=2.40,<3", "submitit>=1.5.2,<2"],
        "tensorboard": ["tensorboard>=2.16"],
        "wandb": ["wandb>=0.19"],
        "docs": ["sphinx>=8.1,<10", "myst-parser>=4", "furo>=2025.7"],
        "test": [
            "openai>=1.60",
            "pytest>=8",
            "pytest-cov>=6",
            "pytest-timeout>=2.3",
            "pytest-xdist>=3.6",
            "hypothesis>=6.100",
            "lbforaging==2.0.0",
            "mpe2>=1.1.1",
            "pettingzoo>=1.27",
            "rware==2.0.0",
            "ruff>=0.9",
            "mypy>=1.13",
            "types-PyYAML",
        ],
    },
    entry_points={"console_scripts": ["epymarl-lmac=epymarl_lmac.cli:main"]},
    classifiers=[
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3.10",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
    ],
)

"""The predictions against training: experiments, their sweeps, fits, figures and reports."""

"""Tests of the predictions against training: experiments with their sweeps, fits, figures and reports."""

"""The paper's companion: every result file as pages of HTML that open from disk, tables to sort, charts to hover.

files       which result files there are, what declares each, and on which page it stands
rows        a table's rows as they are embedded in a page
charts      a chart of a table, from the declaration of its columns
passages    the prompts token by token
pages       pages put together and rendered
site        the folder that is written
"""
